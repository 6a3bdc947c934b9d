/** The tap backend's part of the addon (native/tap.cc). */
// eslint-disable-next-line @typescript-eslint/no-empty-object-type
export interface NativeTap {}
