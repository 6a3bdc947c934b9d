/** Block's part of the addon (native/block.cc). */
// eslint-disable-next-line @typescript-eslint/no-empty-object-type
export interface NativeBlock {}
