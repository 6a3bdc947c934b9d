import { HypervisorError, type HypervisorInterrupt } from '@vmm/hypervisor';
import { GicV2, GicV2m, type GicV2mOptions } from '../src/index.ts';

const FRAME = 0x4c02_0000;
const SETSPI = 0x40;
const BASE = 64;
const COUNT = 32;

function rig(options: Partial<GicV2mOptions> = {}): {
  frame: GicV2m;
  gic: GicV2;
  raised: number[];
  made: number[];
  open: Set<number>;
  failing: { error: Error | undefined };
} {
  const raised: number[] = [];
  const made: number[] = [];
  const open = new Set<number>();
  const failing: { error: Error | undefined } = { error: undefined };
  const gic = new GicV2({
    cpus: 1,
    irqs: 128,
    distributor: 0x4000_0000,
    cpuInterface: 0x4001_0000,
    onIrq: () => undefined,
  });
  const vm = {
    createInterrupt: (spi: number): HypervisorInterrupt => {
      if (failing.error !== undefined) throw failing.error;
      made.push(spi);
      open.add(spi);
      return {
        gsi: spi,
        trigger: () => void raised.push(spi + 32),
        [Symbol.dispose]: () => void open.delete(spi),
      };
    },
  };
  const frame = new GicV2m({ vm, gic, address: FRAME, base: BASE, count: COUNT, ...options });
  return { frame, gic, raised, made, open, failing };
}

/** Whether an interrupt of the model is pending, by GICD_ISPENDR. */
function pending(gic: GicV2, intid: number): boolean {
  return ((gic.distributor(0).read(0x200 + 4 * (intid >>> 5), 4) >>> (intid & 31)) & 1) !== 0;
}

describe('GICv2m frame', () => {
  it('tells its SPIs and its implementer', () => {
    const { frame } = rig();
    expect(frame.read(0x008, 4)).toBe((BASE << 16) | COUNT);
    expect(frame.read(0xfcc, 4) & 0xfff).toBe(0x43b);
    expect([frame.read(0x040, 4), frame.read(0x008, 1), frame.read(0xffc, 4)]).toEqual([0, 0, 0]);
  });

  it('makes an edge of its SPI of each message, through an input that is made for the first one', () => {
    const { frame, raised, made } = rig();
    const [first, second] = [frame.createMsi(), frame.createMsi()];
    first.setMessage({ address: FRAME + SETSPI, addressHigh: 0, data: BASE + 3 });
    second.setMessage({ address: FRAME + SETSPI, addressHigh: 0, data: BASE + COUNT - 1 });
    expect(made).toEqual([]);
    first.trigger();
    second.trigger();
    first.trigger();
    expect(raised).toEqual([BASE + 3, BASE + COUNT - 1, BASE + 3]);
    expect(made).toEqual([BASE + 3 - 32, BASE + COUNT - 1 - 32]);
  });

  it('raises the SPI that the guest stores, in 16 or 32 bits', () => {
    const { frame, raised } = rig();
    frame.write(SETSPI, 4, BASE);
    frame.write(SETSPI, 2, BASE + 1);
    frame.write(SETSPI, 1, BASE + 2);
    frame.write(SETSPI + 4, 4, BASE + 3);
    expect(raised).toEqual([BASE, BASE + 1]);
  });

  it.each([
    ['an SPI before the frame', { address: FRAME + SETSPI, addressHigh: 0, data: BASE - 1 }],
    ['an SPI behind the frame', { address: FRAME + SETSPI, addressHigh: 0, data: BASE + COUNT }],
    ['bits beyond an INTID', { address: FRAME + SETSPI, addressHigh: 0, data: 0xffff_ffff }],
    ['another register', { address: FRAME, addressHigh: 0, data: BASE }],
    ['memory', { address: FRAME + SETSPI, addressHigh: 1, data: BASE }],
  ])('drops a message with %s', (_, message) => {
    const { frame, raised } = rig();
    const msi = frame.createMsi();
    msi.setMessage({ address: FRAME + SETSPI, addressHigh: 0, data: BASE });
    msi.setMessage(message);
    msi.trigger();
    frame.write(
      SETSPI,
      4,
      message.address === FRAME + SETSPI && message.addressHigh === 0 ? message.data : 0,
    );
    expect(raised).toEqual([]);
  });

  it('sends nothing without a message', () => {
    const { frame, raised } = rig();
    const msi = frame.createMsi();
    msi.trigger();
    msi.setMessage({ address: FRAME + SETSPI, addressHigh: 0, data: BASE });
    msi.setMessage(undefined);
    msi.trigger();
    msi.setMessage({ address: FRAME + SETSPI, addressHigh: 0, data: BASE });
    msi[Symbol.dispose]();
    msi.trigger();
    expect(raised).toEqual([]);
  });

  it('raises the line of the GIC where there is no input to be had', () => {
    const { frame, gic, raised, failing } = rig();
    // GICD_ICFGR: the SPI is edge-triggered.
    gic.distributor(0).write(0xc00 + 4 * (BASE >>> 4), 4, 0xaaaa_aaaa);
    failing.error = new HypervisorError('SYSTEM', 'no descriptors');
    frame.write(SETSPI, 4, BASE + 5);
    expect([raised, pending(gic, BASE + 5)]).toEqual([[], true]);
    failing.error = new TypeError('a fault of the program');
    expect(() => frame.write(SETSPI, 4, BASE + 5)).toThrow('a fault of the program');
  });

  it('has its SPIs for itself until it is disposed of', () => {
    const { frame, gic, open } = rig();
    expect(() => gic.createLine(BASE - 32, 'edge')).toThrow(expect.objectContaining({ code: 'IN_USE' }));
    frame.write(SETSPI, 4, BASE);
    frame[Symbol.dispose]();
    expect(open.size).toBe(0);
    frame.write(SETSPI, 4, BASE);
    expect(open.size).toBe(0);
    gic.createLine(BASE - 32, 'edge');
  });

  it('gives back what it took when an SPI has a device', () => {
    const { gic } = rig({ base: 100, count: 4 });
    const create = (): GicV2m =>
      new GicV2m({
        vm: {
          createInterrupt: () => {
            throw new Error('not asked');
          },
        },
        gic,
        address: FRAME,
        base: 96,
        count: 8,
      });
    expect(create).toThrow(expect.objectContaining({ code: 'IN_USE' }));
    gic.createLine(96 - 32, 'edge');
  });

  it.each([
    { base: 31 },
    { base: 32.5 },
    { count: 0 },
    { count: 1.5 },
    { base: 1000, count: 21 },
    { base: 120, count: 16 },
  ])('refuses %p', (wrong) => {
    expect(() => rig(wrong)).toThrow(
      expect.objectContaining({ name: 'IrqChipError', code: 'INVALID_ARGUMENT' }),
    );
  });
});
