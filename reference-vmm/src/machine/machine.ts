import type { Vcpu, Vm } from '@vmm/hypervisor';
import type { TransportOptions, VirtioDevice, VirtioTransport } from '@vmm/virtio-devices';
import type { Bus, PciRoot } from '@vmm/vm-device';
import type { GuestMemory } from '@vmm/vm-memory';
import type { BootFiles } from '../boot-files.ts';
import type { MachineState } from './machine-state.ts';
import type { PortBus } from './port-bus.ts';
import type { SerialPort } from './serial-port.ts';

/** Instruction set architectures of guests, by their ELF names. */
export type Architecture = 'x86_64' | 'aarch64';

/** How virtio devices are connected: registers at fixed addresses (VIRTIO 1.3 §4.2), or functions on a PCI bus (§4.1). */
export type TransportKind = 'mmio' | 'pci';

/**
 * What a device's transport is told besides what the machine knows. `onSharedMemory` is where `Vm.mapMemory` puts memory
 * for a region.
 */
export type AttachOptions = Pick<
  TransportOptions,
  'name' | 'onError' | 'onIgnoredWrite' | 'onSharedMemory' | 'ringFeatures'
>;

/** What a guest asks of its platform by way of a device. */
export type PowerRequest = 'shutdown' | 'reset';

/** What a machine tells the VMM. */
export interface MachineHooks {
  /** Output of the serial port. */
  readonly serialOutput: (bytes: Uint8Array) => void;
  /** Accesses that met no device, broken devices. */
  readonly debug: (message: string) => void;
  /** Descriptor of a file that guest memory is a private copy of, in order of addresses. Default: it is zero. */
  readonly memoryFile?: number | undefined;
}

/** What of a VM's configuration its machine is made from. */
export interface MachineConfig {
  readonly cpus: number;
  /** Bytes. */
  readonly memory: number;
  /** Number of virtio devices there will be. */
  readonly virtioDevices: number;
  /** Of all virtio devices. Default `mmio`. */
  readonly transport?: TransportKind;
  /** x86-64 only. Default `kernel`. */
  readonly irqchip?: IrqChipMode;
  /** x86-64 only. Default `host`. */
  readonly cpu?: CpuTemplate;
}

/** Where the I/O APIC of an x86-64 machine is: beside the vCPUs, or a model in this process. */
export type IrqChipMode = 'kernel' | 'split';

/** CPUID of an x86-64 machine: what the host has, or what hosts of many kinds have. */
export type CpuTemplate = 'host' | 'portable';

/** How an x86-64 ELF kernel is entered: by Linux's 64-bit boot protocol, or as a PVH guest. */
export type BootProtocol = 'linux64' | 'pvh';

/**
 * Everything of a virtual machine that depends on its architecture: memory layout, interrupt controller, the devices
 * that are not virtio, how a kernel is loaded and told of the machine, and the state in which vCPUs start.
 *
 * The order of calls is the order of members: a kernel is loaded first, then devices are attached, then the vCPUs are
 * made, which writes the tables that describe all that.
 */
export interface Machine extends Disposable {
  readonly vm: Vm;
  readonly memory: GuestMemory;
  /** Registers in guest physical memory. */
  readonly mmio: Bus;
  /** I/O ports, where the architecture has them. */
  readonly ports: PortBus | undefined;
  readonly serial: SerialPort;
  /** With the transport `pci`. */
  readonly pci: PciRoot | undefined;
  /** Called when the guest asks a device of the machine to end it. */
  onPower: (request: PowerRequest) => void;

  /** @throws ArchError, VmmError `FILE_NOT_FOUND`, `FILE_UNREADABLE` */
  loadKernel(files: BootFiles): Promise<void>;

  /**
   * Connects a virtio device, in the next place that there is.
   *
   * @throws ArchError `INVALID_ARGUMENT` when there is none; VirtioDeviceError `INVALID_OPTION`
   */
  attach(device: VirtioDevice, options?: AttachOptions): VirtioTransport;

  /** Writes the tables, and creates the vCPUs in their boot state. Once. */
  createVcpus(): readonly Vcpu[];

  /**
   * Stops the clock that the guest measures time by, so that a pause is none for it: arm64's virtual counter, x86-64's
   * paravirtual clock (its time stamp counter goes on). Only while no vCPU runs.
   */
  stopClock(): void;

  /** Lets it go on from where it stopped. */
  startClock(): void;

  /** The guest ended an interrupt with this vector (`eoi` exits). */
  endOfInterrupt(vector: number): void;

  /**
   * Puts everything but memory and virtio devices back to where it was before the first instruction. Only while no vCPU
   * runs and the clock stands still. What follows is {@link loadKernel} and {@link enterKernel}.
   */
  reset(): void;

  /** Writes the tables for the kernel that was loaded, and leads the boot CPU to it: what {@link createVcpus} ends with. */
  enterKernel(): void;

  /** Presses the power button or lets it go. A guest that has no driver for it yet, or never, does not notice. */
  setPowerButton(pressed: boolean): void;

  /**
   * Everything but memory and virtio devices. Only while no vCPU runs and the clock stands still.
   *
   * @throws HypervisorError `WRONG_STATE`
   */
  save(): MachineState;

  /**
   * Creates the vCPUs where they were, in place of {@link loadKernel} and {@link createVcpus}: with the saved memory, once
   * the virtio devices are attached and before they are restored. The clock stands still until {@link startClock}.
   *
   * @param state of a machine made from the same configuration; it need not be trusted
   * @throws VmmError `INVALID_SNAPSHOT`
   */
  restore(state: unknown): readonly Vcpu[];
}
