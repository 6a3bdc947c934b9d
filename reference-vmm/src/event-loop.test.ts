import { beforeEach, describe, expect, it } from '@jest/globals';
import type { IoExit, MmioExit, VcpuExit } from '@vmm/hypervisor';
import { Bus, type BusDevice } from '@vmm/vm-device';
import { EventLoop, type VcpuEnd } from './event-loop.ts';
import type { Machine, PowerRequest } from './machine/machine.ts';
import { PortBus } from './machine/port-bus.ts';

/** Answers reads with their offset and width, and records writes. */
class Recorder implements BusDevice {
  readonly writes: (readonly [number, number, number])[] = [];
  onWrite: () => void = () => undefined;

  read(offset: number, length: number): number {
    return offset * 16 + length;
  }

  write(offset: number, length: number, value: number): void {
    this.writes.push([offset, length, value]);
    this.onWrite();
  }
}

interface Fixture {
  readonly loop: EventLoop;
  readonly device: Recorder;
  readonly ports: Recorder;
  readonly machine: { onPower: (request: PowerRequest) => void };
  readonly ends: VcpuEnd[];
  readonly vectors: number[];
}

function fixture(): Fixture {
  const device = new Recorder();
  const mmio = new Bus();
  mmio.register(0x1000, 0x100, device);
  const ports = new Recorder();
  const portBus = new PortBus(() => undefined);
  portBus.register(0x60, 4, ports, 'ports');
  const vectors: number[] = [];
  const machine: Pick<Machine, 'mmio' | 'ports' | 'onPower' | 'endOfInterrupt'> = {
    mmio,
    ports: portBus,
    onPower: () => undefined,
    endOfInterrupt: (vector) => void vectors.push(vector),
  };
  const ends: VcpuEnd[] = [];
  const loop = new EventLoop(machine, (end) => void ends.push(end));
  return { loop, device, ports, machine, ends, vectors };
}

const mmio = (address: number, write: boolean, value = 0, length: MmioExit['length'] = 4): MmioExit => ({
  reason: 'mmio',
  address,
  length,
  write,
  value,
  valueHigh: 0,
});
const io = (port: number, write: boolean, value = 0, length: IoExit['length'] = 1): IoExit => ({
  reason: 'io',
  port,
  length,
  write,
  value,
});

let machine: Fixture;
beforeEach(() => {
  machine = fixture();
});

describe('EventLoop', () => {
  it('answers loads and stores from the memory bus, 8-byte ones in both halves', () => {
    const read = mmio(0x1008, false, 0, 8);
    expect(machine.loop.handle(read)).toBe('resume');
    expect([read.value, read.valueHigh]).toEqual([0x84, 0xc4]);
    machine.loop.handle(mmio(0x1010, true, 7));
    expect(machine.device.writes).toEqual([[0x10, 4, 7]]);
  });

  it('answers port accesses from the port bus; a port of nothing reads as ones of its width', () => {
    const read = io(0x61, false);
    machine.loop.handle(read);
    expect(read.value).toBe(0x11);
    const nothing = io(0x2f8, false, 0, 1);
    machine.loop.handle(nothing);
    expect(nothing.value & 0xff).toBe(0xff);
    machine.loop.handle(read);
    expect(read.value).toBe(0x11);
    machine.loop.handle(io(0x62, true, 3));
    expect(machine.ports.writes).toEqual([[2, 1, 3]]);
  });

  it('hands the end of interrupts to the interrupt controller', () => {
    expect(machine.loop.handle({ reason: 'eoi', vector: 0x31 })).toBe('resume');
    expect(machine.vectors).toEqual([0x31]);
  });

  it.each<[string, VcpuExit, VcpuEnd]>([
    ['a triple fault', { reason: 'shutdown' }, { kind: 'reset' }],
    ['PSCI SYSTEM_OFF', { reason: 'systemEvent', event: 'shutdown' }, { kind: 'shutdown' }],
    ['PSCI SYSTEM_RESET', { reason: 'systemEvent', event: 'reset' }, { kind: 'reset' }],
    ['an error', { reason: 'internalError', message: 'odd' }, { kind: 'failed', message: 'odd' }],
  ])('ends at %s', (_, exit, end) => {
    expect(machine.loop.handle(exit)).toBe('stop');
    expect(machine.ends).toEqual([end]);
  });

  it('ends within the store that asks a device for it, once, and stops the other vCPUs at their next exit', () => {
    machine.ports.onWrite = () => machine.machine.onPower('shutdown');
    expect(machine.loop.handle(io(0x60, true))).toBe('stop');
    expect(machine.loop.handle(io(0x60, true))).toBe('stop');
    expect(machine.loop.handle({ reason: 'shutdown' })).toBe('stop');
    expect(machine.ends).toEqual([{ kind: 'shutdown' }]);
  });

  it('counts exits by kind and by address', () => {
    for (let count = 0; count < 3; count++) machine.loop.handle(mmio(0x1000, true));
    machine.loop.handle(mmio(0x1000, false));
    machine.loop.handle(io(0x60, false));
    machine.loop.handle({ reason: 'eoi', vector: 1 });
    const { total, byReason, sites } = machine.loop.exits.statistics;
    expect(total).toBe(6);
    expect(byReason).toMatchObject({ mmio: 4, io: 1, eoi: 1 });
    expect(sites).toEqual([
      { reason: 'mmio', write: true, address: 0x1000, count: 3 },
      { reason: 'io', write: false, address: 0x60, count: 1 },
      { reason: 'mmio', write: false, address: 0x1000, count: 1 },
    ]);
  });

  it('keeps a bounded number of addresses, whatever the guest touches', () => {
    for (let page = 0; page < 10_000; page++) machine.loop.handle(mmio(0x10_0000 + page * 8, false));
    const { total, sites } = machine.loop.exits.statistics;
    expect(total).toBe(10_000);
    expect(sites.length).toBeLessThan(5000);
  });
});
