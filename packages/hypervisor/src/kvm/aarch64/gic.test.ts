import { jest } from '@jest/globals';
import type { NativeHandle } from '../native.ts';
import { DeferredInterrupt } from './deferred-interrupt.ts';
import { KvmGic } from './gic.ts';
import { gicV2Attributes, gicV3Attributes } from './gic-registers.ts';
import { VGIC_GROUP } from './uapi.ts';

const CONFIG = { distributor: 0x4000_0000, redistributor: 0x4800_0000, cpuInterface: 0x4001_0000, irqs: 64 };

/** A device that keeps what is written, and a VM that logs interrupt lines. */
function fake(version: 2 | 3): { gic: KvmGic; log: string[] } {
  const log: string[] = [];
  const values = new Map<string, bigint>();
  const device: NativeHandle = {
    ioctl: (request, argument, pointee) => {
      if (typeof argument === 'number') throw new TypeError('a structure is missing');
      const attr = new DataView(argument.buffer, argument.byteOffset);
      const group = attr.getUint32(4, true);
      const key = `${group} ${attr.getBigUint64(8, true)}`;
      const value = pointee === undefined ? undefined : new DataView(pointee.buffer);
      if (request === 0x4018_aee1) {
        if (group === VGIC_GROUP.CTRL) log.push('begin');
        if (value !== undefined) values.set(key, value.getBigUint64(0, true));
      } else {
        value?.setBigUint64(0, values.get(key) ?? 0n, true);
      }
      return 0;
    },
    close: () => undefined,
  };
  const gic = new KvmGic(
    {
      ioctl: (_what, _request, argument) => {
        if (typeof argument === 'number') throw new TypeError('a structure is missing');
        const line = new DataView(argument.buffer);
        log.push(`${(line.getUint32(0, true) - 0x100_0000).toString()}=${line.getUint32(4, true)}`);
      },
      checkUsable: () => undefined,
      checkStill: () => undefined,
      affinities: () => [0x8000_0000n, 0x8000_0001n],
    },
    device,
    version === 3 ? { version, config: CONFIG } : { version, config: CONFIG },
  );
  return { gic, log };
}

describe('a GIC of KVM', () => {
  it('raises what was raised before it began, levels before pulses, and once', () => {
    const { gic, log } = fake(3);
    gic.setSpi(40, true);
    gic.setSpi(41, true);
    gic.setSpi(41, false);
    gic.pulseSpi(50);
    expect(log).toEqual([]);
    gic.begin();
    gic.begin();
    expect(log).toEqual(['begin', '40=1', '50=1', '50=0']);
    gic.pulseSpi(40);
    expect(log.slice(4)).toEqual(['40=1']);
  });

  it.each([2, 3] as const)('of version %d is restored to what was saved', (version) => {
    const { gic } = fake(version);
    gic.setSpi(33, true);
    const state = gic.save();
    const copy = fake(version);
    copy.gic.restore(structuredClone(state));
    expect(copy.gic.save()).toEqual(state);
    // A VGICv2 has to be told of its lines.
    expect(copy.log.includes('33=1')).toBe(version === 2);
  });

  it('refuses the state of another version, or with other interrupts', () => {
    const refused = expect.objectContaining({ code: 'INVALID_ARGUMENT' });
    expect(() => fake(3).gic.restore(fake(2).gic.save())).toThrow(refused);
    expect(() => fake(2).gic.restore({ version: 1, model: 'gicv2', opaque: new Uint8Array(3) })).toThrow(
      refused,
    );
  });

  it('has each register once in its state', () => {
    const cpus = [
      { affinity: 0, priorityBits: 5 },
      { affinity: 1, priorityBits: 7 },
    ];
    for (const attributes of [gicV3Attributes(128, cpus), gicV2Attributes(128, 2)]) {
      const keys = attributes.map(({ group, low, high }) => `${group} ${high} ${low}`);
      expect(new Set(keys).size).toBe(keys.length);
      // 96 shared interrupts have 24 registers of priorities.
      const priorities = attributes.filter(
        ({ group, low }) => group === VGIC_GROUP.DIST_REGS && low >= 0x420 && low < 0x800,
      );
      expect(priorities.length).toBe(24);
    }
  });
});

describe('an interrupt input that is made before the GIC begins', () => {
  it('tells of its triggers when it is connected, once', () => {
    const trigger = jest.fn();
    const dispose = jest.fn();
    const interrupt = new DeferredInterrupt(5, () => ({ gsi: 5, trigger, [Symbol.dispose]: dispose }));
    interrupt.trigger();
    interrupt.trigger();
    expect(trigger).toHaveBeenCalledTimes(0);
    interrupt.connect();
    expect(trigger).toHaveBeenCalledTimes(1);
    interrupt.trigger();
    expect(trigger).toHaveBeenCalledTimes(2);
    interrupt[Symbol.dispose]();
    expect(dispose).toHaveBeenCalledTimes(1);
  });

  it('is not connected any more when it has been disposed of', () => {
    const create = jest.fn<() => DeferredInterrupt>();
    const interrupt = new DeferredInterrupt(5, create);
    interrupt[Symbol.dispose]();
    interrupt.connect();
    interrupt.trigger();
    expect(create).not.toHaveBeenCalled();
  });
});
