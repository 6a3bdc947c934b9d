import { x86_64 } from '@vmm/arch';
import type { CpuidEntry, X86Vcpu, X86Vm } from '@vmm/hypervisor';
import { type IoApic, type VmIrqChip, type VmIrqChipState, createVmIrqChip } from '@vmm/irqchip';
import type { VirtioDevice, VirtioTransport } from '@vmm/virtio-devices';
import { type AddressAllocator, Bus, type Interrupt, type PciRoot } from '@vmm/vm-device';
import type { GuestMemory } from '@vmm/vm-memory';
import { AcpiPower, CmosRtc, I8042, PostCodePort, Uart16550A } from '@vmm/vm-superio';
import { type BootFiles, withBootFiles } from '../boot-files.ts';
import { mapGuestMemory } from '../memory-manager.ts';
import { busHooks } from './bus-hooks.ts';
import {
  type MachineState,
  type StatefulPart,
  checkMachineState,
  restoreParts,
  restoreVcpus,
  restoring,
  saveParts,
} from './machine-state.ts';
import type { AttachOptions, Machine, MachineConfig, MachineHooks, PowerRequest } from './machine.ts';
import { PCI_ECAM_SIZE, PciBus } from './pci.ts';
import { PortBus } from './port-bus.ts';
import { SerialPort } from './serial-port.ts';
import { allocatorOf, attachVirtioMmio } from './virtio-mmio.ts';

/** Port of power-on self-test codes, which kernels also write to in order to wait. */
const POST_CODE_PORT = 0x80;

/** The PCI bus, and what the ACPI tables say of it. */
interface AttachedPci {
  readonly bus: PciBus;
  readonly description: x86_64.AcpiPciConfig;
}

/**
 * A PC without firmware: ACPI and MP tables, 16550A, i8042, CMOS clock, ACPI sleep and reset registers, and virtio devices
 * by virtio-mmio or PCI.
 */
export class X86Machine implements Machine {
  readonly vm: X86Vm;
  readonly memory: GuestMemory;
  readonly mmio: Bus;
  readonly ports: PortBus;
  readonly serial: SerialPort = new SerialPort();
  onPower: (request: PowerRequest) => void = () => undefined;

  readonly #config: MachineConfig;
  readonly #supportedCpuid: readonly CpuidEntry[];
  readonly #irqChip: VmIrqChip;
  readonly #powerButton: Interrupt;
  readonly #pci: AttachedPci | undefined;
  readonly #virtio: x86_64.MmioDeviceSlot[] = [];
  readonly #sharedMemory: AddressAllocator | undefined;
  /** What has a state of its own, by its name in the machine's. */
  readonly #parts: Record<string, StatefulPart> = {};
  #vcpus: readonly X86Vcpu[] = [];
  /** As it was before the kernel was entered. */
  #initial: MachineState | undefined;
  #cmdline = '';
  #loaded: x86_64.LoadedKernel | undefined;
  /** Nanoseconds of the paravirtual clock while it stands still. */
  #clock: bigint | undefined;

  /** @param supportedCpuid of the hypervisor */
  constructor(vm: X86Vm, supportedCpuid: readonly CpuidEntry[], config: MachineConfig, hooks: MachineHooks) {
    this.vm = vm;
    this.#supportedCpuid = supportedCpuid;
    this.#config = config;
    this.#irqChip = createVmIrqChip(vm, { mode: config.irqchip ?? 'kernel' });
    this.memory = mapGuestMemory(vm, x86_64.memoryRegions(config.memory), hooks.memoryFile);
    this.mmio = new Bus({ name: 'MMIO', ...busHooks(hooks.debug) });
    this.ports = new PortBus(hooks.debug);
    const { ioApic } = this.#irqChip;
    if (ioApic !== undefined) {
      this.#addIoApic(ioApic);
    }
    this.#sharedMemory = allocatorOf(x86_64.pciMmio64(config.memory));
    this.#addSerialPort(hooks.serialOutput);
    this.#addPower();
    this.#powerButton = this.#irqChip.createLine(x86_64.POWER_BUTTON_GSI, 'edge');
    this.#addLegacy();
    this.#pci = config.transport === 'pci' ? this.#addPci() : undefined;
  }

  get pci(): PciRoot | undefined {
    return this.#pci?.bus.root;
  }

  async loadKernel(files: BootFiles): Promise<void> {
    this.#cmdline = files.cmdline;
    this.#loaded = await withBootFiles(files, (kernel, initrd) =>
      x86_64.loadKernel(this.memory, kernel, { initrd, protocol: files.protocol }),
    );
  }

  attach(device: VirtioDevice, options: AttachOptions = {}): VirtioTransport {
    if (this.#pci !== undefined) return this.#pci.bus.attach(device, options);
    const slot = x86_64.virtioMmioSlot(this.#virtio.length);
    this.#virtio.push(slot);
    const place = {
      address: slot.address,
      interrupt: this.#irqChip.createLine(slot.gsi, 'edge'),
      sharedMemory: this.#sharedMemory,
    };
    return attachVirtioMmio(this, place, device, options);
  }

  createVcpus(): readonly X86Vcpu[] {
    this.#makeVcpus();
    this.enterKernel();
    return this.#vcpus;
  }

  #makeVcpus(): void {
    const { cpus, cpu: model } = this.#config;
    this.#vcpus = Array.from({ length: cpus }, (_, id) => {
      const vcpu = this.vm.createVcpu(id);
      const cpuid = x86_64.cpuidFor(this.#supportedCpuid, { id, vcpus: cpus, model });
      if (id !== 0) return x86_64.configureSecondaryCpu(vcpu, { cpuid });
      vcpu.setCpuid(cpuid);
      return vcpu;
    });
    this.#initial = this.#state(0n);
  }

  enterKernel(): void {
    const { cpus } = this.#config;
    const [bootCpu] = this.#vcpus;
    if (this.#loaded === undefined || bootCpu === undefined)
      throw new TypeError('no kernel, or no vCPU to enter it');
    const rsdp = x86_64.writeAcpiTables(this.memory, {
      vcpus: cpus,
      virtioMmio: this.#virtio,
      uart: { port: x86_64.COM1.port, gsi: x86_64.COM1_GSI },
      rtc: { port: x86_64.CMOS.port },
      powerButton: { gsi: x86_64.POWER_BUTTON_GSI },
      pci: this.#pci?.description,
    });
    if (cpus <= x86_64.MAX_MP_TABLE_VCPUS) x86_64.writeMpTable(this.memory, cpus);
    x86_64.writeResetVector(this.memory);
    const boot = x86_64.writeBootInformation(this.memory, this.#loaded, {
      cmdline: this.#kernelCmdline(),
      rsdp,
      rngSeed: crypto.getRandomValues(new Uint8Array(64)),
    });
    x86_64.configureBootCpu(bootCpu, this.memory, boot);
  }

  reset(): void {
    if (this.#initial === undefined) throw new TypeError('no vCPUs to reset');
    this.#apply(this.#initial);
  }

  stopClock(): void {
    this.#clock ??= this.vm.getClock();
  }

  startClock(): void {
    if (this.#clock !== undefined) this.vm.setClock(this.#clock);
    this.#clock = undefined;
  }

  endOfInterrupt(vector: number): void {
    this.#irqChip.endOfInterrupt(vector);
  }

  setPowerButton(pressed: boolean): void {
    if (pressed) this.#powerButton.trigger();
  }

  save(): MachineState {
    if (this.#clock === undefined) throw new TypeError('save() before stopClock()');
    return this.#state(this.#clock);
  }

  #state(clock: bigint): MachineState {
    return {
      version: 1,
      arch: 'x86_64',
      clock,
      vcpus: this.#vcpus.map((vcpu) => vcpu.save()),
      interruptController: this.#irqChip.save(),
      parts: saveParts(this.#parts),
    };
  }

  restore(state: unknown): readonly X86Vcpu[] {
    const checked = checkMachineState(state, 'x86_64', this.#config.cpus);
    this.#makeVcpus();
    this.#apply(checked);
    return this.#vcpus;
  }

  #apply({ clock, vcpus, interruptController, parts }: MachineState): void {
    // An interrupt that the I/O APIC has pending goes to local APICs, which are the vCPUs'.
    restoreVcpus(this.#vcpus, vcpus);
    restoring('the interrupt controllers', () =>
      this.#irqChip.restore(interruptController as VmIrqChipState),
    );
    restoreParts(this.#parts, parts);
    this.#clock = clock;
  }

  [Symbol.dispose](): void {
    // No device here has a timer of its own.
  }

  /** A kernel that is told not to use ACPI finds the virtio devices by parameters, as one that has none. */
  #kernelCmdline(): string {
    if (!/(^|\s)acpi=off(\s|$)/.test(this.#cmdline)) return this.#cmdline;
    return [this.#cmdline, ...this.#virtio.map((_, index) => x86_64.virtioMmioParameter(index))].join(' ');
  }

  /** The model in this process. Which register an access is about comes before it, and in order. */
  #addIoApic(ioApic: IoApic): void {
    const { guestAddress, size } = x86_64.IO_APIC;
    this.mmio.register(guestAddress, size, ioApic, 'I/O APIC');
    this.vm.coalesceWrites(guestAddress, 4, (address, length, value) => {
      if (length === 1 || length === 2 || length === 4) ioApic.write(address - guestAddress, length, value);
    });
  }

  #addPci(): AttachedPci {
    const description = {
      ecam: { ...x86_64.PCI_ECAM, size: PCI_ECAM_SIZE },
      memory: x86_64.PCI_MMIO,
      memory64: x86_64.pciMmio64(this.#config.memory),
      gsis: x86_64.PCI_GSIS,
    };
    const lines = description.gsis.map((gsi) => this.#irqChip.createLine(gsi, 'level'));
    const bus = new PciBus(this, { ...description, lines, msi: this.#irqChip });
    this.#parts['pci'] = bus.root;
    const { port, size } = x86_64.PCI_CONFIG;
    this.ports.register(port, size, bus.root.configPorts, 'PCI configuration ports');
    // CONFIG_ADDRESS comes before an access to CONFIG_DATA, and in order.
    this.#coalesce(port, 4);
    return { bus, description };
  }

  /** Characters are stored without an exit. */
  #addSerialPort(output: (bytes: Uint8Array) => void): void {
    const { port, size } = x86_64.COM1;
    const uart = new Uart16550A({
      interrupt: this.#irqChip.createLine(x86_64.COM1_GSI, 'edge'),
      trigger: 'edge',
      output,
      holdInput: true,
      onDrained: this.serial.onDrained,
    });
    this.ports.register(port, size, uart, '16550A');
    this.#coalesce(port);
    this.#parts['serial'] = uart;
    this.serial.connect(uart);
  }

  #addPower(): void {
    const { port, size } = x86_64.ACPI_POWER;
    const power = new AcpiPower({
      onShutdown: () => this.onPower('shutdown'),
      onReset: () => this.onPower('reset'),
    });
    this.#parts['power'] = power;
    this.ports.register(port, size, power, 'ACPI registers');
  }

  #addLegacy(): void {
    const keyboard = new I8042({ onReset: () => this.onPower('reset') });
    this.#parts['keyboard'] = keyboard;
    this.ports.register(x86_64.I8042_DATA.port, x86_64.I8042_DATA.size, keyboard.data, 'i8042 data');
    this.ports.register(
      x86_64.I8042_COMMAND.port,
      x86_64.I8042_COMMAND.size,
      keyboard.command,
      'i8042 command',
    );
    const clock = new CmosRtc({ clock: () => Date.now() / 1000 });
    this.#parts['clock'] = clock;
    this.ports.register(x86_64.CMOS.port, x86_64.CMOS.size, clock, 'CMOS');
    this.ports.register(POST_CODE_PORT, 1, new PostCodePort(), 'POST codes');
    // The index of a CMOS register comes before an access to it, and in order.
    this.#coalesce(x86_64.CMOS.port);
    this.#coalesce(POST_CODE_PORT);
  }

  #coalesce(port: number, size = 1): void {
    this.vm.coalescePortWrites(port, size, (address, length, value) => {
      if (length === 1 || length === 2 || length === 4) this.ports.write(address, length, value);
    });
  }
}
