import {
  type VirtioDevice,
  VirtioMmioTransport,
  VIRTIO_MMIO_INTERRUPT_STATUS,
  VIRTIO_MMIO_SIZE,
} from '@vmm/virtio-devices';
import type { Interrupt } from '@vmm/vm-device';
import type { AttachOptions, Machine } from './machine.ts';

/** Place and interrupt of a virtio-mmio device; its line is edge-triggered. */
export interface VirtioMmioSlot {
  readonly address: number;
  readonly interrupt: Interrupt;
}

/** Gives a device its registers in a slot of the machine. Reads of InterruptStatus do not exit where a hypervisor can. */
export function attachVirtioMmio(
  { vm, memory, mmio }: Pick<Machine, 'vm' | 'memory' | 'mmio'>,
  { address, interrupt }: VirtioMmioSlot,
  device: VirtioDevice,
  options: AttachOptions,
): VirtioMmioTransport {
  const transport = new VirtioMmioTransport({
    ...options,
    device,
    memory,
    interrupt,
    address,
    doorbells: vm,
    interruptStatus: vm.shadowRead(address + VIRTIO_MMIO_INTERRUPT_STATUS, 0),
  });
  mmio.register(address, VIRTIO_MMIO_SIZE, transport, `virtio ${options.name ?? device.name}`);
  return transport;
}
