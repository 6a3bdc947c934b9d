import { GuestMemory } from '@vmm/vm-memory';
import { codeOf } from '../../test/support.ts';
import { MAX_MP_TABLE_VCPUS, buildMpTable, writeMpTable } from './mp-table.ts';

const sum = (bytes: Uint8Array): number => bytes.reduce((total, byte) => (total + byte) & 0xff, 0);
const text = (bytes: Uint8Array): string => String.fromCharCode(...bytes);

/** What a guest finds that reads as Intel's MultiProcessor Specification 1.4 says. */
interface MpMachine {
  readonly localApic: number;
  readonly processors: readonly { readonly id: number; readonly enabled: boolean; readonly boot: boolean }[];
  readonly buses: readonly (readonly [number, string])[];
  readonly ioApics: readonly { readonly id: number; readonly enabled: boolean; readonly address: number }[];
  /** Interrupt type, polarity and trigger, bus, IRQ, APIC, input. */
  readonly ioInterrupts: readonly (readonly number[])[];
  readonly localInterrupts: readonly (readonly number[])[];
}

/** Looks for the floating pointer where the specification has it in the last KiB of base memory (§4). */
function read(memory: GuestMemory): MpMachine {
  let pointer = 639 * 1024;
  while (text(memory.slice(pointer, 4)) !== '_MP_') {
    pointer += 16;
    if (pointer >= 640 * 1024) throw new Error('no MP floating pointer structure');
  }
  const floating = memory.slice(pointer, 16 * memory.readUint8(pointer + 8));
  // §4.1: length 1, revision 4, a configuration table, virtual wire mode.
  expect([sum(floating), ...floating.subarray(8, 10), floating[11], floating[12]]).toEqual([0, 1, 4, 0, 0]);
  const header = memory.readUint32(pointer + 4);
  const table = memory.slice(header, memory.readUint16(header + 4));
  expect([text(table.subarray(0, 4)), sum(table), table[6]]).toEqual(['PCMP', 0, 4]);
  expect(header + table.length).toBeLessThanOrEqual(640 * 1024);

  const machine = {
    localApic: memory.readUint32(header + 36),
    processors: [] as { id: number; enabled: boolean; boot: boolean }[],
    buses: [] as [number, string][],
    ioApics: [] as { id: number; enabled: boolean; address: number }[],
    ioInterrupts: [] as number[][],
    localInterrupts: [] as number[][],
  };
  let at = 44;
  let lastType = 0;
  for (let count = memory.readUint16(header + 34); count > 0; count--) {
    const type = table[at]!;
    const entry = table.subarray(at, at + (type === 0 ? 20 : 8));
    expect(type).toBeGreaterThanOrEqual(lastType);
    lastType = type;
    at += entry.length;
    const interrupt = [entry[1]!, entry[2]! | (entry[3]! << 8), ...entry.subarray(4)];
    const flags = entry[3]!;
    if (type === 0)
      machine.processors.push({ id: entry[1]!, enabled: (flags & 1) === 1, boot: (flags & 2) === 2 });
    else if (type === 1) machine.buses.push([entry[1]!, text(entry.subarray(2))]);
    else if (type === 2) {
      const address = memory.readUint32(header + at - 4);
      machine.ioApics.push({ id: entry[1]!, enabled: (flags & 1) === 1, address });
    } else if (type === 3) machine.ioInterrupts.push(interrupt);
    else if (type === 4) machine.localInterrupts.push(interrupt);
    else throw new Error(`entry of type ${type}`);
  }
  expect(at).toBe(table.length);
  return machine;
}

function machineOf(vcpus: number): MpMachine {
  const memory = new GuestMemory([{ guestAddress: 0, bytes: new Uint8Array(640 * 1024) }]);
  writeMpTable(memory, vcpus);
  return read(memory);
}

describe('MP table (Intel MultiProcessor Specification 1.4)', () => {
  it.each([1, 2, 8, MAX_MP_TABLE_VCPUS])(
    'names %i processors, the first of them to boot (§4.3.1)',
    (vcpus) => {
      expect(machineOf(vcpus).processors).toEqual(
        Array.from({ length: vcpus }, (_, id) => ({ id, enabled: true, boot: id === 0 })),
      );
    },
  );

  it('has one bus, ISA (§4.3.2)', () => {
    expect(machineOf(1).buses).toEqual([[0, 'ISA   ']]);
  });

  it('gives the I/O APIC an identifier that no processor has (§4.3.3)', () => {
    const { ioApics, localApic } = machineOf(4);
    expect(ioApics).toEqual([{ id: 4, enabled: true, address: 0xfec0_0000 }]);
    expect(localApic).toBe(0xfee0_0000);
  });

  it('sends each interrupt to the input of its number, but the timer to input 2 (§4.3.4)', () => {
    const { ioInterrupts } = machineOf(2);
    const irqs = [0, 1, ...Array.from({ length: 21 }, (_, index) => index + 3)];
    expect(ioInterrupts).toEqual(irqs.map((irq) => [0, 0, 0, irq, 2, irq === 0 ? 2 : irq]));
  });

  it('has ExtINT at LINT0 and NMI at LINT1 (§4.3.5)', () => {
    expect(machineOf(2).localInterrupts).toEqual([
      [3, 0, 0, 0, 0, 0],
      [1, 0, 0, 0, 0xff, 1],
    ]);
  });

  it('of the most vCPUs fills the last KiB of base memory, and of one more would not fit', () => {
    const { guestAddress, bytes } = buildMpTable(MAX_MP_TABLE_VCPUS);
    expect(guestAddress).toBe(0x9fc00);
    expect(bytes.length).toBeLessThanOrEqual(1024);
    expect(bytes.length + 20).toBeGreaterThan(1024);
  });

  it.each([0, -1, 1.5, NaN, MAX_MP_TABLE_VCPUS + 1])('refuses %d vCPUs', async (vcpus) => {
    expect(await codeOf(() => buildMpTable(vcpus))).toBe('INVALID_ARGUMENT');
  });
});
