/** The file system backend's part of the addon (native/fs.cc). */
// eslint-disable-next-line @typescript-eslint/no-empty-object-type
export interface NativeFs {}
