/**
 * The PCI Express capability of a root complex integrated endpoint, PCI Express Base 3.0 §7.8: version 2, no link
 * and no slot. With it Linux looks at the extended configuration space, and may reset the function.
 */

/** Bytes after ID and next pointer. */
const BODY_SIZE = 0x3a;
/** Capability version 2, device/port type 1001b. */
const CAPABILITIES = 0x0092;
/** Device Capabilities: Role-Based Error Reporting, Function Level Reset. */
const DEVICE_CAPABILITIES = (1 << 15) | (1 << 28);

/** Offset of Device Control from the start of the capability. */
export const EXPRESS_DEVICE_CONTROL = 0x08;
export const EXPRESS_INITIATE_FLR = 0x8000;
/** Error reporting enables, relaxed ordering, no snoop, reset; sizes stay at 128 bytes. */
const DEVICE_CONTROL_WRITABLE = 0x000f | 0x0010 | 0x0800 | EXPRESS_INITIATE_FLR;

export const EXPRESS_BODY: Uint8Array = new Uint8Array(BODY_SIZE);
export const EXPRESS_WRITABLE: Uint8Array = new Uint8Array(BODY_SIZE);
new DataView(EXPRESS_BODY.buffer).setUint16(0, CAPABILITIES, true);
new DataView(EXPRESS_BODY.buffer).setUint32(2, DEVICE_CAPABILITIES, true);
new DataView(EXPRESS_WRITABLE.buffer).setUint16(EXPRESS_DEVICE_CONTROL - 2, DEVICE_CONTROL_WRITABLE, true);
