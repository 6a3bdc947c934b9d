import { I8042 } from './i8042.ts';

const OUTPUT_FULL = 0x01;
const INPUT_FULL = 0x02;

interface Rig {
  readonly controller: I8042;
  readonly resets: () => number;
  command(value: number): void;
  data(value: number): void;
  status(): number;
  /** What the controller answers; undefined when the output buffer is empty. */
  answer(): number | undefined;
}

function rig(): Rig {
  let resets = 0;
  const controller = new I8042({ onReset: () => (resets += 1) });
  const status = (): number => controller.command.read(0, 1);
  return {
    controller,
    resets: () => resets,
    command: (value) => controller.command.write(0, 1, value),
    data: (value) => controller.data.write(0, 1, value),
    status,
    answer: () => ((status() & OUTPUT_FULL) === 0 ? undefined : controller.data.read(0, 1)),
  };
}

describe('i8042', () => {
  it('resets the machine by the command 0xfe, which may be sent at any time', () => {
    const r = rig();
    expect(r.status() & INPUT_FULL).toBe(0);
    r.command(0x60);
    r.command(0xfe);
    expect(r.resets()).toBe(1);
  });

  it('resets by every pulse that includes bit 0, and by the output port', () => {
    const r = rig();
    for (let command = 0xf0; command <= 0xff; command++) r.command(command);
    expect(r.resets()).toBe(8);
    r.command(0xd1);
    r.data(0x02);
    expect(r.resets()).toBe(9);
    r.command(0xd1);
    r.data(0x03);
    expect(r.resets()).toBe(9);
  });

  it('passes its self-test, and has neither keyboard nor mouse', () => {
    const r = rig();
    r.command(0xaa);
    expect(r.answer()).toBe(0x55);
    expect(r.answer()).toBeUndefined();
    for (const test of [0xa9, 0xab]) {
      r.command(test);
      expect(r.answer()).toBe(1);
    }
    r.data(0xf2);
    expect(r.answer()).toBeUndefined();
    r.command(0xd4);
    r.data(0xff);
    expect(r.answer()).toBeUndefined();
  });

  it('keeps its command byte', () => {
    const r = rig();
    r.command(0x60);
    r.data(0x47);
    r.command(0xad);
    r.command(0xa7);
    r.command(0x20);
    expect(r.answer()).toBe(0x77);
    r.command(0xae);
    r.command(0xa8);
    r.command(0x20);
    expect(r.answer()).toBe(0x47);
  });

  it('echoes what a probe for a mouse writes, without the sign of one', () => {
    const r = rig();
    r.command(0xd3);
    r.data(0x5a);
    expect(r.status() & 0x20).toBe(0);
    expect(r.answer()).toBe(0x5a);
    r.command(0xd0);
    expect(r.answer()).toBe(3);
  });

  it('goes on from a saved state, and refuses a broken one as a whole', () => {
    const r = rig();
    r.command(0xd0);
    r.command(0x60);
    const state = structuredClone(r.controller.save());
    const copy = rig();
    copy.controller.restore(state);
    expect(copy.controller.save()).toEqual(state);
    copy.data(0x12);
    expect(copy.answer()).toBe(3);
    copy.command(0x20);
    expect(copy.answer()).toBe(0x12);
    for (const [field, value] of Object.entries({
      version: 2,
      commandByte: 256,
      pending: -1,
      lastWasCommand: 0,
      output: -2,
    })) {
      const before = copy.controller.save();
      expect(() => copy.controller.restore({ ...state, [field]: value })).toThrow(
        expect.objectContaining({ code: 'INVALID_STATE' }),
      );
      expect(copy.controller.save()).toEqual(before);
    }
  });
});
