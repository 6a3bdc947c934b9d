import type { X86Segment, X86Vcpu, X86Vm } from '@vmm/hypervisor';
import type { VmIrqChip } from '../src/index.ts';

const GDT = 0x800;
const IDT = 0x1000;
const CODE = 0x4000;
const STACK = 0x9000;
const RAM_SIZE = 0x1_0000;
const CODE_SELECTOR = 0x08;
const DATA_SELECTOR = 0x10;

const LOCAL_APIC = 0xfee0_0000;
const APIC_EOI = LOCAL_APIC + 0xb0;
const APIC_SPURIOUS = LOCAL_APIC + 0xf0;
const APIC_LVT_LINT0 = LOCAL_APIC + 0x350;
const APIC_ENABLE = 0x1ff;
const MASKED = 0x1_0000;
const IO_APIC = 0xfec0_0000;

const IDLE_PORT = 0x80;
const VECTOR_PORT = 0x81;
/** More than any interrupt takes to arrive; only a hang gets there. */
const MOST_ROUNDS = 100_000;

/** A redirection entry: the low word, for APIC 0. */
export interface Entry {
  readonly input: number;
  readonly low: number;
}

/**
 * A guest in 32-bit protected mode that programs the I/O APIC, enables interrupts, and then says over and over that it is
 * idle. Each interrupt reports its vector and then ends at the local APIC.
 */
export class KvmGuest {
  /** What happened: vectors, and `eoi` exits as their negative. */
  readonly events: number[] = [];
  readonly #vcpu: X86Vcpu;
  readonly #chip: VmIrqChip;
  /** Runs when a vector is reported, before its end. */
  onVector: (vector: number) => void = () => undefined;

  constructor(vm: X86Vm, chip: VmIrqChip, entries: readonly Entry[]) {
    this.#chip = chip;
    const { ioApic } = chip;
    // The register select alone may come late.
    if (ioApic !== undefined)
      vm.coalesceWrites(IO_APIC, 4, (_address, _length, value) => ioApic.write(0, 4, value));
    const ram = vm.mapMemory(0, RAM_SIZE).bytes;
    writeTables(ram, writeCode(ram, entries));
    this.#vcpu = vm.createVcpu(0);
    protectedMode(this.#vcpu);
  }

  /** Runs until the guest has been idle `rounds` times, with a turn of the event loop each time. */
  async idle(rounds: number): Promise<void> {
    for (let round = 0; round < rounds;) {
      if (this.#step()) round++;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Runs until there have been so many vectors. */
  async vectors(count: number): Promise<number[]> {
    for (let round = 0; round < MOST_ROUNDS && this.#vectorsSoFar().length < count; round++)
      await this.idle(1);
    return this.#vectorsSoFar();
  }

  #vectorsSoFar(): number[] {
    return this.events.filter((event) => event >= 0);
  }

  /** One exit; true when the guest is idle. */
  #step(): boolean {
    const exit = this.#vcpu.run();
    switch (exit.reason) {
      case 'io':
        if (exit.port === VECTOR_PORT) {
          const vector = exit.value;
          this.events.push(vector);
          this.onVector(vector);
        }
        return exit.port === IDLE_PORT;
      case 'mmio':
        this.#chip.ioApic!.write(exit.address - IO_APIC, 4, exit.value);
        return false;
      case 'eoi':
        this.events.push(-exit.vector);
        this.#chip.endOfInterrupt(exit.vector);
        return false;
      default:
        throw new Error(`the guest came back with ${JSON.stringify(exit)}`);
    }
  }
}

function word(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
}

/** MOV of an immediate to memory. */
function store(address: number, value: number): number[] {
  return [0xc7, 0x05, ...word(address), ...word(value)];
}

function out(port: number): number[] {
  return [0xe6, port];
}

/** Returns the address of each vector's handler. */
function writeCode(ram: Uint8Array, entries: readonly Entry[]): ReadonlyMap<number, number> {
  const program = [...store(APIC_SPURIOUS, APIC_ENABLE), ...store(APIC_LVT_LINT0, MASKED)];
  for (const { input, low } of entries) {
    program.push(...store(IO_APIC, 0x11 + 2 * input), ...store(IO_APIC + 0x10, 0));
    program.push(...store(IO_APIC, 0x10 + 2 * input), ...store(IO_APIC + 0x10, low));
  }
  const idle = program.length;
  // STI, then OUT and a jump back to it.
  program.push(0xfb, ...out(IDLE_PORT), 0xeb, 0xfc);
  const handlers = new Map<number, number>();
  for (const { low } of entries) {
    const vector = low & 0xff;
    handlers.set(vector, CODE + program.length);
    // MOV AL, OUT, end of interrupt; MOV ESP and JMP instead of IRET, which not every KVM can emulate.
    program.push(0xb0, vector, ...out(VECTOR_PORT), ...store(APIC_EOI, 0), 0xbc, ...word(STACK));
    program.push(0xe9, ...word(idle - (program.length + 5)));
  }
  ram.set(program, CODE);
  return handlers;
}

function writeTables(ram: Uint8Array, handlers: ReadonlyMap<number, number>): void {
  // Flat segments of 4 GiB: code, execute and read; data, read and write (Intel SDM Vol. 3 §3.4.5).
  ram.set([0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0], GDT + CODE_SELECTOR);
  ram.set([0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0], GDT + DATA_SELECTOR);
  for (const [vector, address] of handlers) {
    // A 32-bit interrupt gate (§6.11).
    const [low, next, third, high] = word(address);
    ram.set([low!, next!, CODE_SELECTOR, 0, 0, 0x8e, third!, high!], IDT + 8 * vector);
  }
}

function protectedMode(vcpu: X86Vcpu): void {
  const segment = (selector: number, type: number): X86Segment => ({
    base: 0n,
    limit: 0xffff_ffff,
    selector,
    type,
    present: true,
    dpl: 0,
    db: true,
    s: true,
    l: false,
    g: true,
    avl: false,
    unusable: false,
  });
  const data = segment(DATA_SELECTOR, 0x3);
  vcpu.setSpecialRegisters({
    cs: segment(CODE_SELECTOR, 0xb),
    ds: data,
    es: data,
    fs: data,
    gs: data,
    ss: data,
    gdt: { base: BigInt(GDT), limit: 0x17 },
    idt: { base: BigInt(IDT), limit: 0x7ff },
    // PE and ET.
    cr0: 0x11n,
  });
  vcpu.setRegister('rip', BigInt(CODE));
  vcpu.setRegister('rsp', BigInt(STACK));
  vcpu.setRegister('rflags', 2n);
}
