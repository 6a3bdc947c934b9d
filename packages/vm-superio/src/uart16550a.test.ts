import { Uart16550A, type Uart16550AOptions } from './uart16550a.ts';
import * as R from './uart16550a-registers.ts';

interface Rig {
  readonly uart: Uart16550A;
  readonly sent: number[];
  /** Edges since the start, or the level of the line. */
  readonly line: { edges: number; level: boolean };
  read(register: number): number;
  write(register: number, value: number): void;
}

function rig(options: Partial<Uart16550AOptions> = {}): Rig {
  const sent: number[] = [];
  const line = { edges: 0, level: false };
  const uart = new Uart16550A({
    interrupt: { trigger: () => (line.edges += 1), setLevel: (high) => void (line.level = high) },
    output: (bytes) => void sent.push(...bytes),
    ...options,
  });
  return {
    uart,
    sent,
    line,
    read: (register) => uart.read(register, 1),
    write: (register, value) => uart.write(register, 1, value),
  };
}

function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (c) => c.charCodeAt(0));
}

const TRANSMITTER_EMPTY = R.LSR_THRE | R.LSR_TEMT;
const FIFOS = R.FCR_ENABLE;

describe('16550A registers (PC16550D §8)', () => {
  it('has the values of a master reset', () => {
    const r = rig();
    const values = [R.RBR, R.IER, R.IIR, R.LCR, R.MCR, R.LSR, R.MSR].map(r.read);
    expect(values).toEqual([0, 0, R.IIR_NONE, 0, 0, TRANSMITTER_EMPTY, R.MSR_CTS | R.MSR_DSR | R.MSR_DCD]);
  });

  it('keeps the implemented bits of its registers', () => {
    const r = rig();
    for (const [register, mask] of [
      [R.IER, 0x0f],
      [R.MCR, 0x1f],
      [R.SCR, 0xff],
      [R.LCR, 0xff],
    ] as const) {
      r.write(register, 0xff);
      expect([register, r.read(register)]).toEqual([register, mask]);
    }
  });

  it('shows the divisor latch in place of RBR, THR and IER while DLAB is set', () => {
    const r = rig();
    r.write(R.IER, 5);
    r.write(R.LCR, R.LCR_DLAB);
    r.write(R.DLL, 1);
    r.write(R.DLM, 2);
    expect([r.read(R.DLL), r.read(R.DLM)]).toEqual([1, 2]);
    r.write(R.LCR, 3);
    expect([r.read(R.RBR), r.read(R.IER)]).toEqual([0, 5]);
    r.uart.flush();
    expect(r.sent).toEqual([]);
  });

  it('takes wider accesses as those of the bytes they cover, and answers nothing beyond the end', () => {
    const r = rig();
    r.uart.write(R.MCR, 4, 0x12_00_00_03);
    expect([r.read(R.MCR), r.read(R.SCR)]).toEqual([3, 0x12]);
    expect(r.uart.read(R.MCR, 4)).toBe((0x12 << 24) | (0xb0 << 16) | (TRANSMITTER_EMPTY << 8) | 3);
    expect(r.uart.read(R.SCR, 2)).toBe(0x12);
  });

  it('passes the probe for a 16550A that Linux makes', () => {
    const r = rig();
    r.write(R.IER, 0);
    expect(r.read(R.IER)).toBe(0);
    r.write(R.IER, 0x0f);
    expect(r.read(R.IER)).toBe(0x0f);
    r.write(R.IER, 0);
    r.write(R.MCR, R.MCR_LOOP | R.MCR_OUT2 | R.MCR_RTS);
    expect(r.read(R.MSR) & 0xf0).toBe(R.MSR_DCD | R.MSR_CTS);
    r.write(R.MCR, 0);
    r.write(R.FCR, FIFOS);
    expect(r.read(R.IIR) >> 6).toBe(3);
    // Neither a TI16C750 (bit 5) nor an XScale UART (IER bit 6).
    r.write(R.FCR, FIFOS | 0x20);
    expect(r.read(R.IIR) >> 5).toBe(6);
    r.write(R.IER, 0x40);
    expect(r.read(R.IER)).toBe(0);
  });
});

describe('16550A transmission', () => {
  it('hands what the guest sends to the sink, together', async () => {
    const calls: string[] = [];
    const r = rig({ output: (bytes) => void calls.push(String.fromCharCode(...bytes)) });
    for (const byte of ascii('hello')) r.write(R.THR, byte);
    expect(calls).toEqual([]);
    await Promise.resolve();
    expect(calls).toEqual(['hello']);
    r.write(R.THR, 0x21);
    r.uart.flush();
    expect(calls).toEqual(['hello', '!']);
    expect(r.uart.statistics.sentBytes).toBe(6);
  });

  it('interrupts when ETBEI is set and the transmitter is empty, each time (§8.8)', () => {
    const r = rig();
    for (const edges of [1, 2]) {
      r.write(R.IER, R.IER_ETBEI);
      expect(r.line.edges).toBe(edges);
      expect([r.read(R.IIR), r.read(R.IIR)]).toEqual([R.IIR_THR_EMPTY, R.IIR_NONE]);
      r.write(R.IER, 0);
    }
  });

  it('interrupts after what is written at once, and again after the next', async () => {
    const r = rig();
    r.write(R.IER, R.IER_ETBEI);
    r.read(R.IIR);
    for (const edges of [2, 3]) {
      for (const byte of ascii('abc')) r.write(R.THR, byte);
      await Promise.resolve();
      expect([r.line.edges, r.read(R.IIR)]).toEqual([edges, R.IIR_THR_EMPTY]);
    }
    for (const edges of [4, 5]) {
      r.write(R.THR, 0x64);
      r.uart.flush();
      expect([r.line.edges, r.read(R.IIR)]).toEqual([edges, R.IIR_THR_EMPTY]);
    }
  });

  it('does not interrupt a driver that reads IIR to see whether to write more', async () => {
    const r = rig();
    r.write(R.IER, R.IER_ETBEI);
    for (let burst = 0; burst < 5; burst++) {
      expect(r.read(R.IIR)).toBe(R.IIR_THR_EMPTY);
      for (const byte of ascii('abc')) r.write(R.THR, byte);
    }
    r.write(R.IER, 0);
    await Promise.resolve();
    expect([r.line.edges, r.read(R.IIR)]).toEqual([1, R.IIR_NONE]);
  });

  it('interrupts a driver that does not read IIR, each time', async () => {
    const r = rig();
    r.write(R.IER, R.IER_ETBEI);
    for (const edges of [2, 3]) {
      r.write(R.THR, 1);
      r.write(R.THR, 2);
      await Promise.resolve();
      expect(r.line.edges).toBe(edges);
    }
  });

  it('interrupts for input that comes while such an interrupt is due, once', async () => {
    const r = rig();
    r.write(R.IER, R.IER_ETBEI | R.IER_ERBFI);
    r.read(R.IIR);
    r.write(R.THR, 1);
    r.uart.enqueueInput(ascii('x'));
    await Promise.resolve();
    expect([r.line.edges, r.read(R.IIR)]).toEqual([2, R.IIR_RECEIVED]);
    r.read(R.RBR);
    expect(r.read(R.IIR)).toBe(R.IIR_THR_EMPTY);
  });

  it('has a full transmitter while output is blocked, keeps 4096 bytes and counts what is lost', () => {
    const r = rig();
    r.write(R.IER, R.IER_ETBEI);
    r.uart.blockOutput();
    expect([r.read(R.LSR) & TRANSMITTER_EMPTY, r.read(R.IIR)]).toEqual([0, R.IIR_NONE]);
    for (let i = 0; i < 5000; i++) r.write(R.THR, 0x2e);
    r.uart.flush();
    expect([r.sent.length, r.uart.lostOutput, r.line.edges]).toEqual([0, 904, 1]);
    r.uart.resumeOutput();
    expect([r.sent.length, r.line.edges, r.read(R.IIR)]).toEqual([4096, 2, R.IIR_THR_EMPTY]);
    expect(r.read(R.LSR)).toBe(TRANSMITTER_EMPTY);
  });

  it('can be blocked by the sink itself', () => {
    const calls: number[] = [];
    const r: Rig = rig({
      output: (bytes) => {
        calls.push(bytes.length);
        r.uart.blockOutput();
      },
    });
    for (let i = 0; i < 4098; i++) r.write(R.THR, i & 0xff);
    expect(calls).toEqual([4096]);
    r.uart.resumeOutput();
    expect(calls).toEqual([4096, 2]);
    expect(r.read(R.LSR) & R.LSR_THRE).toBe(0);
  });
});

describe('16550A reception', () => {
  it.each([
    [0, 1],
    [1, 4],
    [2, 8],
    [3, 14],
  ])('with trigger level %i, has IIR tell a timeout below %i characters', (select, trigger) => {
    const r = rig();
    r.write(R.FCR, FIFOS | (select << R.FCR_TRIGGER_SHIFT));
    r.write(R.IER, R.IER_ERBFI);
    r.uart.enqueueInput(new Uint8Array(trigger));
    expect(r.read(R.IIR)).toBe(R.IIR_FIFOS | R.IIR_RECEIVED);
    r.read(R.RBR);
    expect(r.read(R.IIR)).toBe(R.IIR_FIFOS | (trigger > 1 ? R.IIR_TIMEOUT : R.IIR_NONE));
    expect(r.line.edges).toBe(1);
  });

  it('has one place without FIFOs, and an edge for each character', () => {
    const r = rig();
    r.write(R.IER, R.IER_ERBFI);
    r.uart.enqueueInput(ascii('abc'));
    const received: number[] = [];
    for (let i = 1; i <= 3; i++) {
      expect([r.line.edges, r.read(R.IIR), r.read(R.LSR) & R.LSR_DR]).toEqual([i, R.IIR_RECEIVED, R.LSR_DR]);
      received.push(r.read(R.RBR));
    }
    expect(received).toEqual([...ascii('abc')]);
    expect([r.read(R.IIR), r.read(R.LSR) & R.LSR_DR, r.read(R.RBR)]).toEqual([R.IIR_NONE, 0, 0]);
    expect(r.uart.statistics.receivedBytes).toBe(3);
  });

  it('gives a new edge with each fill of the FIFO, so that a driver that stops in between goes on', () => {
    const r = rig();
    r.write(R.FCR, FIFOS);
    r.write(R.IER, R.IER_ERBFI);
    const input = Uint8Array.from({ length: 100 }, (_, i) => i);
    r.uart.enqueueInput(input);
    const received: number[] = [];
    let seen = 0;
    while (r.line.edges > seen) {
      seen = r.line.edges;
      for (let i = 0; i < 16 && (r.read(R.LSR) & R.LSR_DR) !== 0; i++) received.push(r.read(R.RBR));
    }
    expect(received).toEqual([...input]);
    expect(seen).toBe(7);
  });

  it('holds input until the guest has the receive interrupt enabled, when asked to', () => {
    const r = rig({ holdInput: true });
    r.uart.enqueueInput(ascii('ls\n'));
    // What Linux does to find out whether there is a UART.
    r.write(R.IER, R.IER_ERBFI);
    r.write(R.IER, 0);
    r.write(R.FCR, FIFOS | R.FCR_RESET_RECEIVER);
    r.write(R.FCR, 0);
    expect(r.read(R.LSR) & R.LSR_DR).toBe(0);
    r.write(R.MCR, R.MCR_OUT2);
    // Its set_termios enables the interrupt before the FIFO.
    r.write(R.IER, R.IER_ERBFI);
    r.write(R.FCR, FIFOS);
    r.write(R.IER, 0);
    r.line.edges = 0;
    r.write(R.IER, R.IER_ERBFI);
    expect([r.line.edges, r.read(R.RBR)]).toEqual([1, 0x6c]);
    // A console write masks interrupts meanwhile: what is in the FIFO stays.
    r.write(R.IER, 0);
    expect(r.read(R.RBR)).toBe(0x73);
    r.write(R.IER, R.IER_ERBFI);
    expect(r.read(R.RBR)).toBe(0x0a);
  });

  it('refuses input beyond its limit and says when half of it is free again', () => {
    let drained = 0;
    const r = rig({ inputLimit: 20, onDrained: () => (drained += 1) });
    r.write(R.MCR, R.MCR_LOOP);
    expect(r.uart.enqueueInput(new Uint8Array(30))).toBe(20);
    expect(r.uart.pendingInput).toBe(20);
    expect(drained).toBe(0);
    r.write(R.MCR, 0);
    for (let i = 0; i < 20; i++) r.read(R.RBR);
    expect([drained, r.uart.pendingInput]).toEqual([1, 0]);
  });

  it.each([0, -1, 1.5, NaN, 2 ** 31])('refuses an input limit of %d', (inputLimit) => {
    expect(() => rig({ inputLimit })).toThrow(
      expect.objectContaining({ name: 'VmSuperioError', code: 'INVALID_ARGUMENT' }),
    );
  });

  it('shows a break with the character it stands for, above all other interrupts', () => {
    const r = rig();
    r.write(R.FCR, FIFOS);
    r.write(R.IER, R.IER_MASK);
    r.uart.enqueueInput(ascii('x'));
    expect(r.uart.sendBreak()).toBe(true);
    expect(r.read(R.LSR)).toBe(TRANSMITTER_EMPTY | R.LSR_DR | R.LSR_FIFO_ERROR);
    expect(r.read(R.RBR)).toBe(0x78);
    expect(r.read(R.IIR)).toBe(R.IIR_FIFOS | R.IIR_LINE_STATUS);
    expect(r.read(R.LSR)).toBe(TRANSMITTER_EMPTY | R.LSR_DR | R.LSR_FIFO_ERROR | R.LSR_BI);
    expect(r.read(R.LSR)).toBe(TRANSMITTER_EMPTY | R.LSR_DR);
    expect([r.read(R.IIR), r.read(R.RBR)]).toEqual([R.IIR_FIFOS | R.IIR_RECEIVED, 0]);
  });

  it('sends no break into a full FIFO or into loopback', () => {
    const r = rig();
    r.uart.enqueueInput(ascii('x'));
    expect(r.uart.sendBreak()).toBe(false);
    r.read(R.RBR);
    r.write(R.MCR, R.MCR_LOOP);
    expect(r.uart.sendBreak()).toBe(false);
  });

  it('empties the receive FIFO when asked to, and when FIFOs are turned on or off (§8.5)', () => {
    const r = rig();
    for (const [control, value] of [
      [FIFOS, FIFOS | R.FCR_RESET_RECEIVER],
      [FIFOS, 0],
      [0, FIFOS],
    ] as const) {
      r.write(R.FCR, control);
      r.uart.enqueueInput(ascii('x'));
      r.write(R.FCR, value);
      expect(r.read(R.LSR) & R.LSR_DR).toBe(0);
    }
  });
});

describe('16550A loopback (§8.6)', () => {
  it('brings what is sent back to the receiver, and not outside', () => {
    const r = rig();
    r.write(R.MCR, R.MCR_LOOP);
    r.write(R.THR, 0x55);
    r.uart.flush();
    expect([r.read(R.LSR) & R.LSR_DR, r.read(R.RBR), r.sent.length]).toEqual([R.LSR_DR, 0x55, 0]);
  });

  it('does not make input of what it has looped back when the FIFO mode changes', () => {
    const r = rig({ holdInput: true });
    r.write(R.MCR, R.MCR_LOOP);
    r.write(R.FCR, FIFOS);
    r.write(R.THR, 0x55);
    r.write(R.FCR, 0);
    r.write(R.MCR, R.MCR_OUT2);
    r.write(R.IER, R.IER_ERBFI);
    expect([r.uart.pendingInput, r.read(R.LSR) & R.LSR_DR]).toEqual([0, 0]);
  });

  it('connects modem outputs to inputs and tells of changes', () => {
    const r = rig();
    r.write(R.MCR, R.MCR_LOOP | R.MCR_OUT1);
    r.read(R.MSR);
    r.write(R.IER, R.IER_EDSSI);
    r.write(R.MCR, R.MCR_LOOP | R.MCR_DTR | R.MCR_OUT2);
    expect([r.line.edges, r.read(R.IIR)]).toEqual([1, R.IIR_MODEM_STATUS]);
    expect(r.read(R.MSR)).toBe(R.MSR_DSR | R.MSR_DCD | R.MSR_DDSR | R.MSR_TERI | R.MSR_DDCD);
    expect([r.read(R.MSR), r.read(R.IIR)]).toEqual([R.MSR_DSR | R.MSR_DCD, R.IIR_NONE]);
  });

  it('overruns: a full FIFO keeps what it has, a single place takes the new character', () => {
    for (const [control, first] of [
      [FIFOS, 0],
      [0, 16],
    ] as const) {
      const r = rig();
      r.write(R.IER, R.IER_ELSI);
      r.write(R.FCR, control);
      r.write(R.MCR, R.MCR_LOOP);
      for (let i = 0; i <= 16; i++) r.write(R.THR, i);
      expect(r.read(R.IIR) & 0xf).toBe(R.IIR_LINE_STATUS);
      expect(r.read(R.LSR) & R.LSR_OE).toBe(R.LSR_OE);
      expect([r.read(R.LSR) & R.LSR_OE, r.read(R.IIR) & 0xf]).toEqual([0, R.IIR_NONE]);
      expect(r.read(R.RBR)).toBe(first);
    }
  });
});

describe('16550A interrupt line', () => {
  it('is a level where it is wired as one', () => {
    const r = rig({ trigger: 'level' });
    r.write(R.IER, R.IER_ERBFI | R.IER_ETBEI);
    expect([r.line.level, r.line.edges]).toEqual([true, 0]);
    r.uart.enqueueInput(ascii('x'));
    expect(r.read(R.IIR)).toBe(R.IIR_RECEIVED);
    r.read(R.RBR);
    expect([r.line.level, r.read(R.IIR), r.line.level]).toEqual([true, R.IIR_THR_EMPTY, false]);
  });

  it('falls with a reset, which leaves queued input alone', () => {
    const r = rig({ trigger: 'level', holdInput: true });
    r.write(R.IER, R.IER_ETBEI);
    r.uart.enqueueInput(ascii('x'));
    r.uart.reset();
    expect([r.line.level, r.uart.pendingInput, r.read(R.IER)]).toEqual([false, 1, 0]);
  });

  it('gets an edge where a state with an interrupt is restored', () => {
    const r = rig();
    r.write(R.IER, R.IER_ERBFI);
    r.uart.enqueueInput(ascii('x'));
    const copy = rig();
    copy.uart.restore(r.uart.save());
    expect([copy.line.edges, copy.read(R.RBR)]).toEqual([1, 0x78]);
  });

  it('tells of an empty transmitter where a blocked one is restored', () => {
    const r = rig();
    r.write(R.IER, R.IER_ETBEI);
    r.uart.blockOutput();
    const copy = rig();
    copy.uart.restore(r.uart.save());
    expect(copy.read(R.IIR)).toBe(R.IIR_THR_EMPTY);
  });
});
