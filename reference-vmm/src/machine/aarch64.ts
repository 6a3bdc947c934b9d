import { aarch64 } from '@vmm/arch';
import { type Aarch64Vcpu, type Aarch64Vm, sysreg } from '@vmm/hypervisor';
import {
  createVmGicV2,
  createVmGicV3,
  GicV2m,
  type Trigger,
  type VmGicState,
  type VmGicV2,
  type VmGicV3,
} from '@vmm/irqchip';
import type { VirtioDevice, VirtioTransport } from '@vmm/virtio-devices';
import { type AddressAllocator, Bus, type Interrupt, type PciRoot } from '@vmm/vm-device';
import type { GuestMemory } from '@vmm/vm-memory';
import { Pl011, Pl031, Pl061, UARTDR, UARTFR } from '@vmm/vm-superio';
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
import { SerialPort } from './serial-port.ts';
import { allocatorOf, attachVirtioMmio } from './virtio-mmio.ts';

/** Translation granules that the vCPUs have. */
const PAGE_SIZES = [4096] as const;

/** The virtual counter (Arm ARM D24.10.18). */
const CNTVCT_EL0: number = sysreg(3, 3, 14, 0, 2);

type AnyGic = VmGicV2 | VmGicV3;

/** The PCI bus, and what the device tree says of it. */
interface AttachedPci {
  readonly bus: PciBus;
  readonly description: aarch64.PciHostDescription;
  readonly frame: aarch64.GicV2mDescription;
}

/** A machine with a device tree: GIC, PL011, PL031, PL061, PSCI, and virtio devices by virtio-mmio or PCI. */
export class Aarch64Machine implements Machine {
  readonly vm: Aarch64Vm;
  readonly memory: GuestMemory;
  readonly mmio: Bus;
  readonly ports = undefined;
  readonly serial: SerialPort = new SerialPort();
  /** PSCI is the hypervisor's, so that no device here asks for this. */
  onPower: (request: PowerRequest) => void = () => undefined;

  readonly #config: MachineConfig;
  readonly #layout: readonly aarch64.AddressRange[];
  readonly #gic: AnyGic;
  readonly #gpio: Pl061;
  readonly #pci: AttachedPci | undefined;
  readonly #virtio: aarch64.MmioDeviceSlot[] = [];
  readonly #sharedMemory: AddressAllocator | undefined;
  /** What has a state of its own, by its name in the machine's. */
  readonly #parts: Record<string, StatefulPart> = {};
  /** As it was before the kernel was entered. */
  #initial: MachineState | undefined;
  #timer: NodeJS.Timeout | undefined;
  #cmdline = '';
  #loaded: aarch64.LoadedKernel | undefined;
  #vcpus: readonly Aarch64Vcpu[] = [];
  /** The virtual counter while it stands still. */
  #counter: bigint | undefined;

  constructor(vm: Aarch64Vm, config: MachineConfig, hooks: MachineHooks) {
    this.vm = vm;
    this.#config = config;
    this.#layout = aarch64.memoryRegions(config.memory);
    this.memory = mapGuestMemory(vm, this.#layout, hooks.memoryFile);
    this.mmio = new Bus({ name: 'MMIO', ...busHooks(hooks.debug) });
    const pci = config.transport === 'pci';
    const v2m = pci ? aarch64.gicV2mInterrupts(0) : undefined;
    this.#gic = createGic(
      vm,
      config.cpus,
      v2m === undefined ? aarch64.interruptIdentifiers(config.virtioDevices) : v2m.base + v2m.count,
    );
    this.#sharedMemory = allocatorOf(aarch64.pciMmio64(config.memory));
    this.#addSerialPort(hooks.serialOutput);
    this.#addClock();
    this.#gpio = this.#addGpio();
    this.#pci = v2m === undefined ? undefined : this.#addPci(v2m);
  }

  get pci(): PciRoot | undefined {
    return this.#pci?.bus.root;
  }

  async loadKernel(files: BootFiles): Promise<void> {
    this.#cmdline = files.cmdline;
    this.#loaded = await withBootFiles(files, (kernel, initrd) =>
      aarch64.loadKernel(this.memory, kernel, { initrd, pageSizes: PAGE_SIZES }),
    );
  }

  attach(device: VirtioDevice, options: AttachOptions = {}): VirtioTransport {
    if (this.#pci !== undefined) return this.#pci.bus.attach(device, options);
    const slot = aarch64.virtioMmioSlot(this.#virtio.length);
    this.#virtio.push(slot);
    const place = {
      address: slot.address,
      interrupt: this.#line(slot.intid, 'edge'),
      sharedMemory: this.#sharedMemory,
    };
    return attachVirtioMmio(this, place, device, options);
  }

  createVcpus(): readonly Aarch64Vcpu[] {
    this.#makeVcpus();
    this.enterKernel();
    return this.#vcpus;
  }

  #makeVcpus(): void {
    this.#vcpus = Array.from({ length: this.#config.cpus }, (_, id) => {
      const vcpu = this.vm.createVcpu(id);
      return id === 0 ? vcpu : aarch64.configureSecondaryCpu(vcpu);
    });
    this.#initial = this.#state(0n);
  }

  enterKernel(): void {
    const loaded = this.#loaded;
    const [bootCpu] = this.#vcpus;
    if (loaded === undefined || bootCpu === undefined)
      throw new TypeError('no kernel, or no vCPU to enter it');
    const tree = aarch64.buildDeviceTree({
      memory: this.#layout,
      vcpus: this.#config.cpus,
      gic: { ...this.#gic.description, v2m: this.#pci?.frame },
      cmdline: this.#cmdline,
      initrd: loaded.initrd,
      uart: { address: aarch64.PL011.guestAddress, intid: aarch64.PL011_INTID },
      rtc: { address: aarch64.PL031.guestAddress, intid: aarch64.PL031_INTID },
      gpio: {
        address: aarch64.PL061.guestAddress,
        intid: aarch64.PL061_INTID,
        powerButton: aarch64.POWER_BUTTON_PIN,
      },
      virtioMmio: this.#virtio,
      pci: this.#pci?.description,
      // No kaslr-seed: with it Linux isolates its page tables and flushes the TLB at every entry from user space.
      rngSeed: crypto.getRandomValues(new Uint8Array(64)),
    });
    const deviceTree = aarch64.loadDeviceTree(this.memory, loaded, tree);
    aarch64.configureBootCpu(bootCpu, { entry: loaded.entry, deviceTree });
  }

  reset(): void {
    if (this.#initial === undefined) throw new TypeError('no vCPUs to reset');
    this.#apply(this.#initial);
  }

  stopClock(): void {
    this.#counter ??= this.#vcpus[0]?.getSystemRegister(CNTVCT_EL0);
  }

  startClock(): void {
    // It is one counter for all vCPUs.
    if (this.#counter !== undefined) this.#vcpus[0]?.setSystemRegister(CNTVCT_EL0, this.#counter);
    this.#counter = undefined;
  }

  endOfInterrupt(): void {
    // The interrupt controller is the hypervisor's.
  }

  setPowerButton(pressed: boolean): void {
    this.#gpio.setPin(aarch64.POWER_BUTTON_PIN, pressed);
  }

  save(): MachineState {
    if (this.#counter === undefined) throw new TypeError('save() before stopClock()');
    return this.#state(this.#counter);
  }

  #state(clock: bigint): MachineState {
    return {
      version: 1,
      arch: 'aarch64',
      clock,
      vcpus: this.#vcpus.map((vcpu) => vcpu.save()),
      interruptController: this.#gic.save(),
      parts: saveParts(this.#parts),
    };
  }

  restore(state: unknown): readonly Aarch64Vcpu[] {
    const checked = checkMachineState(state, 'aarch64', this.#config.cpus);
    this.#makeVcpus();
    this.#apply(checked);
    return this.#vcpus;
  }

  #apply({ clock, vcpus, interruptController, parts }: MachineState): void {
    restoreVcpus(this.#vcpus, vcpus);
    // Its state names registers of the vCPUs (KVM), and has the levels of what the vCPUs' timers drive.
    restoring('the interrupt controller', () => this.#gic.restore(interruptController as VmGicState));
    restoreParts(this.#parts, parts);
    this.#counter = clock;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  #line(intid: number, trigger: Trigger): Interrupt {
    return this.#gic.createLine(intid - aarch64.SPI_BASE, trigger);
  }

  #addPci(interrupts: { readonly base: number; readonly count: number }): AttachedPci {
    const address = aarch64.GICV2M.guestAddress;
    const msi = new GicV2m({ vm: this.vm, gic: this.#gic, address, ...interrupts });
    this.mmio.register(address, aarch64.GICV2M.size, msi, 'GICv2m');
    const description = {
      ecam: { ...aarch64.PCI_ECAM, size: PCI_ECAM_SIZE },
      memory: aarch64.PCI_MMIO,
      memory64: aarch64.pciMmio64(this.#config.memory),
      intids: aarch64.PCI_INTIDS,
    };
    const lines = description.intids.map((intid) => this.#line(intid, 'level'));
    const bus = new PciBus(this, { ...description, lines, msi });
    this.#parts['pci'] = bus.root;
    return { bus, description, frame: { address, ...interrupts } };
  }

  /**
   * Characters are stored without an exit, and the flag register, which a driver reads before each, is answered by a
   * hypervisor that can.
   */
  #addSerialPort(output: (bytes: Uint8Array) => void): void {
    const { guestAddress: base, size } = aarch64.PL011;
    const flags = this.vm.shadowRead(base + UARTFR, 0);
    const uart = new Pl011({
      interrupt: this.#line(aarch64.PL011_INTID, 'level'),
      output,
      holdInput: true,
      onDrained: this.serial.onDrained,
      onFlagsChanged: (value) => flags.set(value),
    });
    this.vm.coalesceWrites(base + UARTDR, 4, (_address, length, value) => {
      if (length === 1 || length === 2 || length === 4) uart.write(UARTDR, length, value);
    });
    this.mmio.register(base, size, uart, 'PL011');
    this.#parts['serial'] = uart;
    this.serial.connect(uart);
  }

  #addClock(): void {
    const rtc = new Pl031({
      interrupt: this.#line(aarch64.PL031_INTID, 'level'),
      clock: () => Date.now() / 1000,
      setTimer: (seconds, callback) => {
        const timer = setTimeout(callback, seconds * 1000);
        this.#timer = timer;
        return { [Symbol.dispose]: () => clearTimeout(timer) };
      },
    });
    this.#parts['clock'] = rtc;
    this.mmio.register(aarch64.PL031.guestAddress, aarch64.PL031.size, rtc, 'PL031');
  }

  #addGpio(): Pl061 {
    const gpio = new Pl061({ interrupt: this.#line(aarch64.PL061_INTID, 'level') });
    this.mmio.register(aarch64.PL061.guestAddress, aarch64.PL061.size, gpio, 'PL061');
    this.#parts['gpio'] = gpio;
    return gpio;
  }
}

function createGic(vm: Aarch64Vm, vcpus: number, irqs: number): AnyGic {
  const common = { vcpus, distributor: aarch64.GICD.guestAddress, irqs };
  return vm.gicVersions.includes(3)
    ? createVmGicV3(vm, { ...common, redistributor: aarch64.GICR.guestAddress })
    : createVmGicV2(vm, { ...common, cpuInterface: aarch64.GICC.guestAddress });
}
