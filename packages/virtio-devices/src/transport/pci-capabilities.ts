import { PCI_CAP_ID_VENDOR_SPECIFIC } from '@vmm/vm-device';
import type { PciFunction } from '@vmm/vm-device';
import * as layout from './pci-layout.ts';
import type { RegisterLayout, SharedMemoryLayout } from './pci-layout.ts';
import * as cap from './pci-registers.ts';

/** Bytes of `struct virtio_pci_cap`, VIRTIO 1.3 §4.1.4; ID and next pointer are not part of a capability's body. */
const HEADER = 2;
const CAP_SIZE = 16;
const CAP64_SIZE = 24;
const NOTIFY_CAP_SIZE = 20;
const PCI_CFG_CAP_SIZE = 20;

/** Offsets in `struct virtio_pci_cap`, and in the structures that begin with it. */
const CAP_LEN = 2;
const CFG_TYPE = 3;
const BAR = 4;
const ID = 5;
const OFFSET = 8;
const LENGTH = 12;
const OFFSET_HIGH = 16;
const LENGTH_HIGH = 20;
const NOTIFY_OFF_MULTIPLIER = 16;
const PCI_CFG_DATA = 16;

interface Structure {
  readonly type: number;
  readonly bar: number;
  readonly offset: number;
  readonly length: number;
}

/** Adds the capabilities that tell the driver where everything is. */
export function addVirtioCapabilities(
  fn: PciFunction,
  registers: RegisterLayout,
  sharedMemory: SharedMemoryLayout | undefined,
  hasConfig: boolean,
): void {
  const bar = layout.REGISTER_BAR;
  const structures: Structure[] = [
    {
      type: cap.VIRTIO_PCI_CAP_COMMON_CFG,
      bar,
      offset: layout.COMMON_OFFSET,
      length: cap.VIRTIO_PCI_COMMON_SIZE,
    },
    { type: cap.VIRTIO_PCI_CAP_ISR_CFG, bar, offset: layout.ISR_OFFSET, length: 1 },
  ];
  if (hasConfig) {
    const { DEVICE_OFFSET: offset, DEVICE_SIZE: length } = layout;
    structures.push({ type: cap.VIRTIO_PCI_CAP_DEVICE_CFG, bar, offset, length });
  }
  for (const structure of structures) add(fn, bodyOf(structure, CAP_SIZE));

  const { notify: offset, notifySize: length } = registers;
  const notify = bodyOf({ type: cap.VIRTIO_PCI_CAP_NOTIFY_CFG, bar, offset, length }, NOTIFY_CAP_SIZE);
  notify.setUint32(NOTIFY_OFF_MULTIPLIER - HEADER, cap.VIRTIO_PCI_NOTIFY_MULTIPLIER, true);
  add(fn, notify);

  for (const { region, offset: start } of sharedMemory?.regions ?? []) {
    const shared = bodyOf(
      {
        type: cap.VIRTIO_PCI_CAP_SHARED_MEMORY_CFG,
        bar: layout.SHARED_MEMORY_BAR,
        offset: start,
        length: region.size,
      },
      CAP64_SIZE,
    );
    shared.setUint8(ID - HEADER, region.id);
    shared.setUint32(OFFSET_HIGH - HEADER, Math.floor(start / 2 ** 32), true);
    shared.setUint32(LENGTH_HIGH - HEADER, Math.floor(region.size / 2 ** 32), true);
    add(fn, shared);
  }
  addConfigAccess(fn);
}

/**
 * The PCI configuration access capability, §4.1.4.9: a window onto the registers that moves. Accesses that are not of
 * 1, 2 or 4 bytes, aligned, and inside the BAR of the registers do nothing.
 */
function addConfigAccess(fn: PciFunction): void {
  const body = bodyOf({ type: cap.VIRTIO_PCI_CAP_PCI_CFG, bar: 0, offset: 0, length: 0 }, PCI_CFG_CAP_SIZE);
  const writable = new Uint8Array(body.byteLength);
  writable[BAR - HEADER] = 0xff;
  writable.fill(0xff, OFFSET - HEADER);
  const touchesData = (offset: number, length: number): boolean => offset + length > PCI_CFG_DATA - HEADER;
  const capability = fn.addCapability(PCI_CAP_ID_VENDOR_SPECIFIC, bytesOf(body), {
    writable,
    onRead: (offset, length) => {
      const access = touchesData(offset, length) ? target() : undefined;
      if (access === undefined) return;
      const value = fn.readBar(layout.REGISTER_BAR, access.offset, access.length);
      for (let i = 0; i < access.length; i++) {
        capability.body[PCI_CFG_DATA - HEADER + i] = value >>> (8 * i);
      }
    },
    onWrite: (offset, length) => {
      const access = touchesData(offset, length) ? target() : undefined;
      if (access === undefined) return;
      let value = 0;
      for (let i = access.length - 1; i >= 0; i--) {
        value = (value << 8) | capability.body[PCI_CFG_DATA - HEADER + i]!;
      }
      fn.writeBar(layout.REGISTER_BAR, access.offset, access.length, value >>> 0);
    },
  });
  const live = new DataView(capability.body.buffer, capability.body.byteOffset, capability.body.byteLength);
  const target = (): { readonly offset: number; readonly length: 1 | 2 | 4 } | undefined => {
    const length = live.getUint32(LENGTH - HEADER, true);
    const offset = live.getUint32(OFFSET - HEADER, true);
    if (live.getUint8(BAR - HEADER) !== layout.REGISTER_BAR) return undefined;
    if ((length !== 1 && length !== 2 && length !== 4) || offset % length !== 0) return undefined;
    return { offset, length };
  };
}

function bodyOf({ type, bar, offset, length }: Structure, size: number): DataView {
  const body = new DataView(new ArrayBuffer(size - HEADER));
  body.setUint8(CAP_LEN - HEADER, size);
  body.setUint8(CFG_TYPE - HEADER, type);
  body.setUint8(BAR - HEADER, bar);
  body.setUint32(OFFSET - HEADER, offset % 2 ** 32, true);
  body.setUint32(LENGTH - HEADER, length % 2 ** 32, true);
  return body;
}

function add(fn: PciFunction, body: DataView): void {
  fn.addCapability(PCI_CAP_ID_VENDOR_SPECIFIC, bytesOf(body));
}

function bytesOf(body: DataView): Uint8Array {
  return new Uint8Array(body.buffer, body.byteOffset, body.byteLength);
}
