import type { GsiRoute, MsiMessage } from '@vmm/hypervisor';
import { IoApic, type IoApicOptions, type IoApicState } from '../src/index.ts';

const SELECT = 0x00;
const WINDOW = 0x10;
const EOI = 0x40;
const LEVEL = 0x8000;
const MASKED = 0x1_0000;
const REMOTE_IRR = 0x4000;

interface Rig {
  readonly ioApic: IoApic;
  readonly sent: MsiMessage[];
  readonly routes: (readonly GsiRoute[])[];
  get(index: number): number;
  set(index: number, value: number): void;
}

function rig(options: Partial<IoApicOptions> = {}): Rig {
  const sent: MsiMessage[] = [];
  const routes: (readonly GsiRoute[])[] = [];
  const ioApic = new IoApic({
    send: (message) => sent.push(message) > 0,
    onRoutesChanged: (table) => void routes.push(table),
    ...options,
  });
  return {
    ioApic,
    sent,
    routes,
    get: (index) => {
      ioApic.write(SELECT, 4, index);
      return ioApic.read(WINDOW, 4);
    },
    set: (index, value) => {
      ioApic.write(SELECT, 4, index);
      ioApic.write(WINDOW, 4, value);
    },
  };
}

describe('I/O APIC registers (290566 §3)', () => {
  it('tells ID, version and number of inputs, and starts with all inputs masked', () => {
    const r = rig({ id: 5 });
    expect([r.get(0), r.get(1), r.get(2)]).toEqual([0x0500_0000, 0x0017_0020, 0x0500_0000]);
    expect(Array.from({ length: 48 }, (_, i) => r.get(0x10 + i))).toEqual(
      Array.from({ length: 48 }, (_, i) => (i % 2 === 0 ? MASKED : 0)),
    );
    expect([r.get(0x0f), r.get(0x40), r.get(0xff)]).toEqual([0, 0, 0]);
    r.set(0, 0xffff_ffff);
    expect([r.get(0), r.ioApic.read(SELECT, 4)]).toEqual([0x0f00_0000, 0]);
  });

  it('has no EOI register in version 0x11', () => {
    for (const [version, remoteIrr] of [
      [0x11, REMOTE_IRR],
      [0x20, 0],
    ] as const) {
      const r = rig({ version });
      expect(r.get(1) & 0xff).toBe(version);
      r.set(0x10, 0x40 | LEVEL);
      r.ioApic.setLine(0, true);
      r.ioApic.setLine(0, false);
      r.ioApic.write(EOI, 4, 0x40);
      expect(r.get(0x10) & REMOTE_IRR).toBe(remoteIrr);
    }
  });

  it.each([{ inputs: 0 }, { inputs: 121 }, { inputs: 1.5 }, { id: -1 }, { id: 16 }])(
    'refuses %p',
    (options) => {
      expect(() => rig(options)).toThrow(
        expect.objectContaining({ name: 'IrqChipError', code: 'INVALID_ARGUMENT' }),
      );
    },
  );

  it.each([-1, 24, 0.5, NaN])('refuses input %d', (input) => {
    const { ioApic } = rig();
    expect(() => ioApic.setLine(input, true)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    expect(() => ioApic.pulse(input)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  });
});

describe('I/O APIC delivery', () => {
  it('makes a message of a redirection entry (Intel SDM Vol. 3 §11.11)', () => {
    const r = rig();
    r.set(0x11 + 2 * 3, 0x0300_0000);
    r.set(0x10 + 2 * 3, 0x900 | 0x55);
    r.ioApic.pulse(3);
    expect(r.sent).toEqual([{ address: 0xfee0_300c, addressHigh: 0, data: 0x4155 }]);
  });

  it('drops edges of masked inputs, and those of an input that is high', () => {
    const r = rig();
    r.set(0x10, MASKED | 0x40);
    r.ioApic.setLine(0, true);
    r.set(0x10, 0x40);
    r.ioApic.pulse(0);
    r.ioApic.setLine(0, true);
    expect(r.sent).toEqual([]);
    r.ioApic.setLine(0, false);
    r.ioApic.setLine(0, true);
    expect(r.sent.length).toBe(1);
  });

  it('sends a level-triggered interrupt once until its end, and again if it is still asserted', () => {
    const r = rig();
    r.set(0x10, LEVEL | 0x40);
    r.ioApic.setLine(0, true);
    r.ioApic.setLine(0, true);
    r.set(0x11, 0x0100_0000);
    expect([r.sent.length, r.get(0x10)]).toEqual([1, LEVEL | REMOTE_IRR | 0x40]);
    r.ioApic.endOfInterrupt(0x41);
    expect(r.sent.length).toBe(1);
    r.ioApic.endOfInterrupt(0x40);
    expect(r.sent.length).toBe(2);
    r.ioApic.setLine(0, false);
    r.ioApic.endOfInterrupt(0x40);
    expect([r.sent.length, r.get(0x10)]).toEqual([2, LEVEL | 0x40]);
  });

  it('sends a level-triggered interrupt when it is unmasked while asserted', () => {
    const r = rig();
    r.ioApic.setLine(0, true);
    r.set(0x10, MASKED | LEVEL | 0x40);
    expect(r.sent.length).toBe(0);
    r.set(0x10, LEVEL | 0x40);
    expect(r.sent.length).toBe(1);
  });

  it('ends an interrupt when its input is made edge-triggered, as guests do without an EOI register', () => {
    const r = rig();
    r.set(0x10, LEVEL | 0x40);
    r.ioApic.setLine(0, true);
    r.ioApic.setLine(0, false);
    r.set(0x10, MASKED | 0x40);
    r.set(0x10, LEVEL | 0x40);
    expect(r.get(0x10)).toBe(LEVEL | 0x40);
  });

  it('waits for no end of a message that nobody took', () => {
    const r = rig({ send: () => false });
    r.set(0x10, LEVEL | 0x40);
    r.ioApic.setLine(0, true);
    expect(r.get(0x10)).toBe(LEVEL | 0x40);
  });

  it('offers a level that nobody took again when the line says so again', () => {
    const answers = [false, true];
    const offered: MsiMessage[] = [];
    const r = rig({
      send: (message) => {
        offered.push(message);
        return answers.shift()!;
      },
    });
    r.set(0x10, LEVEL | 0x40);
    r.ioApic.setLine(0, true);
    r.ioApic.setLine(0, true);
    r.ioApic.setLine(0, true);
    expect([offered.length, r.get(0x10)]).toEqual([2, LEVEL | REMOTE_IRR | 0x40]);
  });

  it('does not depend on polarity', () => {
    const r = rig();
    r.set(0x10, 0x2000 | LEVEL | 0x40);
    expect([r.get(0x10), r.sent.length]).toEqual([0x2000 | LEVEL | 0x40, 0]);
    r.ioApic.setLine(0, true);
    expect(r.sent.length).toBe(1);
  });

  it('tells of the end of an input before it looks at it again', () => {
    const ended: number[] = [];
    const r: Rig = rig({
      onEndOfInterrupt: (input) => {
        ended.push(input);
        r.ioApic.setLine(input, false);
      },
    });
    r.set(0x10, LEVEL | 0x40);
    r.set(0x12, LEVEL | 0x40);
    r.set(0x14, LEVEL | 0x41);
    for (const input of [0, 1, 2]) r.ioApic.setLine(input, true);
    r.ioApic.endOfInterrupt(0x40);
    expect([ended, r.sent.length]).toEqual([[0, 1], 3]);
  });

  it('keeps levels over a reset, and nothing else', () => {
    const r = rig({ id: 3 });
    r.set(0, 0);
    r.set(0x10, LEVEL | 0x40);
    r.ioApic.setLine(0, true);
    r.ioApic.reset();
    expect([r.get(0), r.get(0x10), r.ioApic.routes.length]).toEqual([0x0300_0000, MASKED, 0]);
    r.set(0x10, LEVEL | 0x41);
    expect(r.sent.map(({ data }) => data)).toEqual([0xc040, 0xc041]);
  });
});

describe('I/O APIC routes', () => {
  it('are told when they change, and only then: a table costs the hypervisor a grace period', () => {
    const r = rig();
    r.set(0x10, MASKED | 0x40);
    r.set(0x11, 0x0100_0000);
    expect(r.routes).toEqual([]);
    r.set(0x10, 0x40);
    r.set(0x10, 0x40);
    expect(r.routes).toEqual([
      [{ gsi: 0, kind: 'msi', message: { address: 0xfee0_1000, addressHigh: 0, data: 0x4040 } }],
    ]);
    r.set(0x10, MASKED | 0x40);
    expect(r.routes.length).toBe(2);
    expect(r.routes[1]).toEqual([]);
  });

  it('stay for masked level-triggered inputs, whose end has to be told', () => {
    const r = rig();
    r.set(0x10, LEVEL | 0x40);
    r.set(0x10, MASKED | LEVEL | 0x40);
    expect(r.ioApic.routes.length).toBe(1);
    expect(r.ioApic.takesEdges(0)).toBe(false);
  });
});

describe('I/O APIC state', () => {
  it('is refused as a whole when a part of it is broken', () => {
    const r = rig();
    const state = r.ioApic.save();
    const with0 = (word: number): number[] => state.low.map((value, i) => (i === 0 ? word : value));
    const broken: [string, unknown][] = [
      ['version', 2],
      ['model', 'gicv2'],
      ['id', 16],
      ['select', 256],
      ['low', state.low.slice(1)],
      ['low', with0(0x1000)],
      ['low', with0(REMOTE_IRR)],
      ['low', with0(-1)],
      ['low', with0(2 ** 32)],
      ['low', undefined],
      ['high', state.high.map(() => 1)],
      ['asserted', state.asserted.map(() => 2)],
      ['asserted', state.asserted.map(() => true)],
    ];
    r.set(0x10, 0x40);
    const before = r.ioApic.save();
    for (const [field, value] of broken) {
      expect(() => r.ioApic.restore({ ...state, [field]: value })).toThrow(
        expect.objectContaining({ name: 'IrqChipError', code: 'INVALID_STATE' }),
      );
      expect(r.ioApic.save()).toEqual(before);
    }
    for (const nothing of [null, undefined, 7, 'state']) {
      expect(() => r.ioApic.restore(nothing as unknown as IoApicState)).toThrow(
        expect.objectContaining({ code: 'INVALID_STATE' }),
      );
    }
  });
});
