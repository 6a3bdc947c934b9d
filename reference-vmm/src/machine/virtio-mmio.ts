import { HypervisorError, type ReadShadow, type Vm } from '@vmm/hypervisor';
import {
  type VirtioDevice,
  VirtioMmioTransport,
  VIRTIO_MMIO_INTERRUPT_STATUS,
  VIRTIO_MMIO_SIZE,
} from '@vmm/virtio-devices';
import { AddressAllocator, type Interrupt } from '@vmm/vm-device';
import type { AttachOptions, Machine } from './machine.ts';

/** Shared memory begins where a guest may map it by large pages. */
const SHARED_MEMORY_ALIGNMENT = 2 ** 21;

/** Place and interrupt of a virtio-mmio device; its line is edge-triggered. */
export interface VirtioMmioSlot {
  readonly address: number;
  readonly interrupt: Interrupt;
  /** Where its shared memory regions get their places. Default: the driver sees none. */
  readonly sharedMemory: AddressAllocator | undefined;
}

/** For shared memory regions: PCI's window behind the guest's memory serves them too, where there is no PCI. */
export function allocatorOf(
  window: { readonly guestAddress: number; readonly size: number } | undefined,
): AddressAllocator | undefined {
  return window && new AddressAllocator(window.guestAddress, window.size);
}

/** Gives a device its registers in a slot of the machine. Reads of InterruptStatus do not exit where a hypervisor can. */
export function attachVirtioMmio(
  { vm, memory, mmio }: Pick<Machine, 'vm' | 'memory' | 'mmio'>,
  { address, interrupt, sharedMemory }: VirtioMmioSlot,
  device: VirtioDevice,
  options: AttachOptions,
): VirtioMmioTransport {
  const places =
    sharedMemory &&
    device.sharedMemory?.map(
      ({ size }) => sharedMemory.allocate(size, { alignment: SHARED_MEMORY_ALIGNMENT }).address,
    );
  const transport = new VirtioMmioTransport({
    ...options,
    device,
    memory,
    interrupt,
    address,
    doorbells: vm,
    ...(places && { sharedMemory: places }),
    ...shadowOf(vm, address + VIRTIO_MMIO_INTERRUPT_STATUS),
  });
  mmio.register(address, VIRTIO_MMIO_SIZE, transport, `virtio ${options.name ?? device.name}`);
  return transport;
}

/** Where the hypervisor has no more shadows the loads exit. */
function shadowOf(vm: Vm, address: number): { readonly interruptStatus?: ReadShadow } {
  try {
    return { interruptStatus: vm.shadowRead(address, 0) };
  } catch (error) {
    if (error instanceof HypervisorError && error.code === 'UNSUPPORTED') return {};
    throw error;
  }
}
