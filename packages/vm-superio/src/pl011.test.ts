import { Pl011, type Pl011Options } from './pl011.ts';
import * as R from './pl011-registers.ts';

interface Rig {
  readonly uart: Pl011;
  readonly sent: number[];
  readonly flags: number[];
  /** Level of UARTINTR, and how often it changed. */
  readonly line: { level: boolean; changes: number };
  read(offset: number): number;
  write(offset: number, value: number): void;
}

function rig(options: Partial<Pl011Options> = {}): Rig {
  const sent: number[] = [];
  const flags: number[] = [];
  const line = { level: false, changes: 0 };
  const uart = new Pl011({
    interrupt: {
      trigger: () => {
        throw new Error('the PL011 has a level');
      },
      setLevel: (high) => {
        line.level = high;
        line.changes++;
      },
    },
    output: (bytes) => void sent.push(...bytes),
    onFlagsChanged: (value) => void flags.push(value),
    ...options,
  });
  return {
    uart,
    sent,
    flags,
    line,
    read: (offset) => uart.read(offset, 4),
    write: (offset, value) => uart.write(offset, 4, value),
  };
}

function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (c) => c.charCodeAt(0));
}

/** What a driver does before it receives: FIFOs on, receiver on. */
function enable(r: Rig): void {
  r.write(R.UARTLCR_H, 0x60 | R.LCR_H_FEN);
  r.write(R.UARTCR, R.CR_UARTEN | R.CR_TXE | R.CR_RXE);
}

function readAll(r: Rig): number[] {
  const all: number[] = [];
  while ((r.read(R.UARTFR) & R.FR_RXFE) === 0) all.push(r.read(R.UARTDR));
  return all;
}

const CONNECTED = R.FR_CTS | R.FR_DSR | R.FR_DCD;

describe('PL011 registers (DDI 0183G §3.2)', () => {
  it('has its reset values', () => {
    const r = rig();
    const values = [
      R.UARTDR,
      R.UARTRSR,
      R.UARTFR,
      R.UARTILPR,
      R.UARTIBRD,
      R.UARTFBRD,
      R.UARTLCR_H,
      R.UARTCR,
      R.UARTIFLS,
      R.UARTIMSC,
      R.UARTRIS,
      R.UARTMIS,
      R.UARTDMACR,
    ].map(r.read);
    expect(values).toEqual([0, 0, R.FR_TXFE | R.FR_RXFE | CONNECTED, 0, 0, 0, 0, 0x300, 0x12, 0, 0, 0, 0]);
  });

  it('identifies itself as revision r1p5 of part 0x011 by Arm', () => {
    const r = rig();
    const ids = [0xfe0, 0xfe4, 0xfe8, 0xfec, 0xff0, 0xff4, 0xff8, 0xffc].map(r.read);
    expect(ids).toEqual([0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1]);
  });

  it('keeps the implemented bits of its registers', () => {
    const r = rig();
    const masks: [number, number][] = [
      [R.UARTILPR, 0xff],
      [R.UARTIBRD, 0xffff],
      [R.UARTFBRD, 0x3f],
      [R.UARTLCR_H, 0xff],
      [R.UARTCR, 0xff87],
      [R.UARTIFLS, 0x3f],
      [R.UARTIMSC, 0x7ff],
      [R.UARTDMACR, 0x7],
    ];
    for (const [offset, mask] of masks) {
      r.write(offset, 0xffff_ffff);
      expect([offset, r.read(offset)]).toEqual([offset, mask]);
    }
  });

  it('answers bytes and halfwords by their lanes', () => {
    const r = rig();
    r.write(R.UARTIBRD, 0x1234);
    expect([r.uart.read(R.UARTIBRD, 1), r.uart.read(R.UARTIBRD + 1, 1), r.uart.read(R.UARTIBRD, 2)]).toEqual([
      0x34, 0x12, 0x1234,
    ]);
    expect([r.uart.read(R.UARTIBRD + 2, 2), r.uart.read(R.UARTIBRD + 1, 4)]).toEqual([0, 0]);
  });

  it('takes no character from the FIFO by a read beside UARTDR', () => {
    const r = rig();
    enable(r);
    r.uart.enqueueInput(ascii('x'));
    expect([r.uart.read(R.UARTDR + 1, 1), r.uart.read(R.UARTDR + 2, 2)]).toEqual([0, 0]);
    expect(r.uart.read(R.UARTDR, 1)).toBe(0x78);
  });
});

describe('PL011 transmission', () => {
  it('hands what the guest sends to the sink, together', async () => {
    const calls: string[] = [];
    const r = rig({ output: (bytes) => void calls.push(String.fromCharCode(...bytes)) });
    for (const byte of ascii('hello')) r.write(R.UARTDR, byte);
    expect(calls).toEqual([]);
    await Promise.resolve();
    expect(calls).toEqual(['hello']);
    r.write(R.UARTDR, 0x21);
    r.uart.flush();
    expect(calls).toEqual(['hello', '!']);
  });

  it('does not wait with more than 4096 bytes', () => {
    const r = rig();
    for (let i = 0; i < 4096; i++) r.write(R.UARTDR, i & 0xff);
    expect(r.sent.length).toBe(4096);
  });

  it('sends before UARTEN is set, for early consoles', () => {
    const r = rig();
    r.write(R.UARTCR, 0);
    r.write(R.UARTDR, 0x41);
    r.uart.flush();
    expect(r.sent).toEqual([0x41]);
  });

  it('asserts the transmit interrupt after data has left, until ICR (§2.8.4)', () => {
    const r = rig();
    r.write(R.UARTIMSC, R.INT_TX);
    expect(r.line.level).toBe(false);
    r.write(R.UARTDR, 0x41);
    expect([r.line.level, r.read(R.UARTMIS)]).toEqual([true, R.INT_TX]);
    r.write(R.UARTICR, R.INT_TX);
    expect([r.line.level, r.read(R.UARTRIS)]).toEqual([false, 0]);
    r.write(R.UARTDR, 0x42);
    r.write(R.UARTIMSC, 0);
    expect([r.line.level, r.read(R.UARTRIS), r.read(R.UARTMIS)]).toEqual([false, R.INT_TX, 0]);
  });

  it('fills its FIFO while output is blocked, keeps 4096 bytes and counts what is lost', () => {
    const r = rig();
    r.write(R.UARTIMSC, R.INT_TX);
    r.uart.blockOutput();
    expect(r.uart.flags & (R.FR_TXFF | R.FR_TXFE)).toBe(R.FR_TXFF);
    for (let i = 0; i < 5000; i++) r.write(R.UARTDR, 0x2e);
    r.uart.flush();
    expect([r.sent.length, r.uart.lostOutput, r.line.level]).toEqual([0, 904, false]);
    r.uart.resumeOutput();
    expect([r.sent.length, r.line.level]).toEqual([4096, true]);
    expect(r.uart.flags & (R.FR_TXFF | R.FR_TXFE)).toBe(R.FR_TXFE);
  });

  it('can be blocked by the sink itself', () => {
    const calls: number[] = [];
    const r: Rig = rig({
      output: (bytes) => {
        calls.push(bytes.length);
        r.uart.blockOutput();
      },
    });
    r.write(R.UARTDR, 1);
    r.uart.flush();
    r.write(R.UARTDR, 2);
    r.write(R.UARTDR, 3);
    r.uart.flush();
    expect(calls).toEqual([1]);
    r.uart.resumeOutput();
    expect(calls).toEqual([1, 2]);
  });
});

describe('PL011 reception', () => {
  it('keeps input until the guest enables the receiver', () => {
    const r = rig();
    r.uart.enqueueInput(ascii('ab'));
    expect(r.read(R.UARTFR) & R.FR_RXFE).toBe(R.FR_RXFE);
    enable(r);
    expect(readAll(r)).toEqual([0x61, 0x62]);
    expect(r.read(R.UARTDR)).toBe(0);
  });

  it('asserts the receive timeout for a few characters and clears it with the last (§2.8.3)', () => {
    const r = rig();
    enable(r);
    r.write(R.UARTIMSC, R.INT_RX | R.INT_RT);
    r.uart.enqueueInput(ascii('ab'));
    expect([r.line.level, r.read(R.UARTMIS)]).toEqual([true, R.INT_RT]);
    r.read(R.UARTDR);
    expect(r.line.level).toBe(true);
    r.read(R.UARTDR);
    expect([r.line.level, r.line.changes]).toEqual([false, 2]);
  });

  it.each([
    [0, 4],
    [1, 8],
    [2, 16],
    [3, 24],
    [4, 28],
    [5, 28],
    [7, 28],
  ])(
    'asserts the receive interrupt with RXIFLSEL %i at %i characters, and clears it below',
    (select, trigger) => {
      const r = rig();
      enable(r);
      r.write(R.UARTIFLS, select << 3);
      r.uart.enqueueInput(new Uint8Array(trigger - 1));
      expect(r.read(R.UARTRIS) & R.INT_RX).toBe(0);
      r.uart.enqueueInput(new Uint8Array(1));
      expect(r.read(R.UARTRIS) & R.INT_RX).toBe(R.INT_RX);
      r.read(R.UARTDR);
      expect(r.read(R.UARTRIS) & R.INT_RX).toBe(0);
    },
  );

  it('has one place without FIFOs', () => {
    const r = rig();
    r.write(R.UARTCR, R.CR_UARTEN | R.CR_RXE);
    r.uart.enqueueInput(ascii('abc'));
    expect(r.uart.flags & (R.FR_RXFF | R.FR_RXFE)).toBe(R.FR_RXFF);
    expect(r.read(R.UARTRIS) & R.INT_RX).toBe(R.INT_RX);
    expect([r.read(R.UARTDR), r.read(R.UARTDR), r.read(R.UARTDR)]).toEqual([0x61, 0x62, 0x63]);
    expect(r.uart.flags & (R.FR_RXFF | R.FR_RXFE)).toBe(R.FR_RXFE);
  });

  it('interrupts again for what follows a full FIFO', () => {
    const r = rig();
    enable(r);
    r.write(R.UARTIMSC, R.INT_RX | R.INT_RT);
    const input = Uint8Array.from({ length: 200 }, (_, i) => i);
    r.uart.enqueueInput(input);
    const received: number[] = [];
    // A driver that takes no more than 20 characters for each interrupt.
    for (let interrupts = 0; r.line.level && interrupts < 100; interrupts++) {
      for (let i = 0; i < 20 && (r.read(R.UARTFR) & R.FR_RXFE) === 0; i++) received.push(r.read(R.UARTDR));
    }
    expect(received).toEqual([...input]);
  });

  it('interrupts for new input though the guest cleared the interrupts without reading', () => {
    const r = rig();
    enable(r);
    r.write(R.UARTIMSC, R.INT_RX | R.INT_RT);
    r.uart.enqueueInput(new Uint8Array(20));
    r.write(R.UARTICR, 0x7ff);
    expect(r.line.level).toBe(false);
    r.uart.enqueueInput(new Uint8Array(100));
    expect(r.line.level).toBe(true);
    readAll(r);
    expect([r.line.level, r.uart.pendingInput]).toEqual([false, 0]);
  });

  it('refuses input beyond its limit and says when half of it is free again', () => {
    let drained = 0;
    const r = rig({ inputLimit: 100, onDrained: () => drained++ });
    expect(r.uart.enqueueInput(new Uint8Array(80))).toBe(80);
    expect(r.uart.enqueueInput(new Uint8Array(80))).toBe(20);
    expect(r.uart.enqueueInput(new Uint8Array(1))).toBe(0);
    enable(r);
    expect(drained).toBe(0);
    while (r.uart.pendingInput > 50) r.read(R.UARTDR);
    expect(drained).toBe(1);
    readAll(r);
    expect(drained).toBe(1);
  });

  it('takes more input from within onDrained', () => {
    let left = 3;
    const r: Rig = rig({
      inputLimit: 40,
      onDrained: () => {
        if (left-- > 0) r.uart.enqueueInput(new Uint8Array(60));
      },
    });
    r.uart.enqueueInput(new Uint8Array(60));
    enable(r);
    expect(readAll(r).length).toBeGreaterThanOrEqual(40 + 3 * 20);
    expect(left).toBeLessThan(0);
  });

  it('loses nothing to a driver that empties the FIFO when it starts, with holdInput', () => {
    const r = rig({ holdInput: true });
    r.uart.enqueueInput(ascii('ls\r'));
    enable(r);
    r.write(R.UARTICR, R.INT_RX | R.INT_RT);
    for (let i = 0; i < 64; i++) expect(r.read(R.UARTFR) & R.FR_RXFE).toBe(R.FR_RXFE);
    r.write(R.UARTIMSC, R.INT_RX | R.INT_RT);
    expect(r.line.level).toBe(true);
    expect(readAll(r)).toEqual([...ascii('ls\r')]);
  });

  it('receives a break as a null character with BE (§3.3.1)', () => {
    const r = rig();
    expect(r.uart.sendBreak()).toBe(false);
    enable(r);
    r.write(R.UARTIMSC, R.INT_BE);
    expect(r.uart.sendBreak()).toBe(true);
    expect(r.line.level).toBe(true);
    expect(r.read(R.UARTDR)).toBe(R.DR_BE);
    expect(r.read(R.UARTRSR)).toBe(4);
    r.write(R.UARTICR, R.INT_BE);
    expect(r.line.level).toBe(false);
  });

  it('reports UARTFR whenever it changes', () => {
    const r = rig();
    enable(r);
    r.uart.enqueueInput(ascii('a'));
    r.read(R.UARTDR);
    const idle = CONNECTED | R.FR_TXFE;
    expect(r.flags).toEqual([idle | R.FR_RXFE, idle, idle | R.FR_RXFE]);
  });
});

describe('PL011 loopback (DDI 0183G §2.4.5)', () => {
  const LOOP = R.CR_UARTEN | R.CR_TXE | R.CR_RXE | R.CR_LBE;

  it('receives what it sends and nothing from outside', () => {
    const r = rig();
    enable(r);
    r.write(R.UARTCR, LOOP);
    r.uart.enqueueInput(ascii('x'));
    r.write(R.UARTDR, 0x41);
    expect(readAll(r)).toEqual([0x41]);
    r.write(R.UARTCR, LOOP & ~R.CR_LBE);
    expect(readAll(r)).toEqual([0x78]);
  });

  it('overruns: the character is lost, RSR and the next character say so', () => {
    const r = rig();
    enable(r);
    r.write(R.UARTCR, LOOP);
    r.write(R.UARTIMSC, R.INT_OE);
    for (let i = 0; i < 33; i++) r.write(R.UARTDR, i);
    expect([r.read(R.UARTRSR), r.line.level]).toEqual([R.RSR_OE, true]);
    expect(r.read(R.UARTDR)).toBe(0);
    r.write(R.UARTDR, 0x55);
    const rest = readAll(r);
    expect(rest.slice(-2)).toEqual([31, R.DR_OE | 0x55]);
    expect(r.read(R.UARTRSR)).toBe(R.RSR_OE);
    r.write(R.UARTRSR, 0);
    expect(r.read(R.UARTRSR)).toBe(0);
    r.write(R.UARTICR, R.INT_OE);
    expect(r.line.level).toBe(false);
  });

  it('feeds the modem outputs to the inputs and reports changes', () => {
    const r = rig();
    r.write(R.UARTCR, R.CR_LBE);
    r.write(R.UARTICR, 0x7ff);
    const modem = R.FR_CTS | R.FR_DSR | R.FR_DCD | R.FR_RI;
    const seen = [R.CR_RTS, R.CR_DTR, R.CR_OUT1, R.CR_OUT2].map((output) => {
      r.write(R.UARTCR, R.CR_LBE);
      r.write(R.UARTICR, 0x7ff);
      r.write(R.UARTCR, R.CR_LBE | output);
      return [r.read(R.UARTFR) & modem, r.read(R.UARTRIS)];
    });
    expect(seen).toEqual([
      [R.FR_CTS, R.INT_CTS],
      [R.FR_DSR, R.INT_DSR],
      [R.FR_DCD, R.INT_DCD],
      [R.FR_RI, R.INT_RI],
    ]);
  });
});

describe('PL011 reset and options', () => {
  it('resets its registers and keeps queued input', () => {
    const r = rig();
    enable(r);
    r.write(R.UARTIMSC, 0x7ff);
    r.uart.enqueueInput(new Uint8Array(100));
    expect(r.line.level).toBe(true);
    r.uart.reset();
    expect([r.line.level, r.read(R.UARTRIS), r.read(R.UARTCR), r.read(R.UARTIFLS)]).toEqual([
      false,
      0,
      0x300,
      0x12,
    ]);
    expect(r.uart.pendingInput).toBe(68);
  });

  it.each([0, -1, 1.5, NaN, 2 ** 31])('refuses an input limit of %d', (inputLimit) => {
    expect(() => rig({ inputLimit })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  });
});
