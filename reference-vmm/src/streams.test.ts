import { text } from 'node:stream/consumers';
import fc from 'fast-check';
import { ConsoleStream, GuestInput, GuestOutput, PanicDetector } from './streams.ts';

const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);

describe('GuestOutput', () => {
  it('hands everything over in order and ends', async () => {
    const output = new GuestOutput();
    const all = text(output);
    for (let index = 0; index < 1000; index++) await output.sink(bytes(`${index},`));
    output.finish();
    expect(await all).toBe(Array.from({ length: 1000 }, (_, index) => `${index},`).join(''));
  });

  it('makes the guest wait while nobody reads, and lets it go on when somebody does', async () => {
    const output = new GuestOutput();
    const full = output.sink(new Uint8Array(output.readableHighWaterMark));
    expect(full).toBeInstanceOf(Promise);
    let released = false;
    void full?.then(() => (released = true));
    await new Promise(setImmediate);
    expect(released).toBe(false);
    output.resume();
    await full;
    expect(released).toBe(true);
  });

  it('takes and drops output once it is destroyed', async () => {
    const output = new GuestOutput();
    const full = output.sink(new Uint8Array(output.readableHighWaterMark));
    output.destroy();
    await full;
    expect(output.sink(bytes('late'))).toBeUndefined();
  });
});

describe('GuestInput', () => {
  it('writes in order, one at a time, and closes after the last', async () => {
    const events: string[] = [];
    const input = new GuestInput(
      async (chunk) => {
        events.push(`start ${new TextDecoder().decode(chunk)}`);
        await new Promise(setImmediate);
        events.push('done');
      },
      () => events.push('close'),
    );
    input.write('a');
    await new Promise<void>((resolve) => void input.end('b', () => resolve()));
    expect(events).toEqual(['start a', 'done', 'start b', 'done', 'close']);
  });
});

describe('ConsoleStream', () => {
  it('never makes the serial port wait: unread output beyond its limit is counted as dropped', () => {
    const stream = new ConsoleStream(() => Promise.resolve());
    const megabyte = new Uint8Array(1 << 20);
    for (let index = 0; index < 8; index++) stream.serialSink(megabyte);
    expect(stream.readableLength + stream.dropped).toBe(8 << 20);
    expect(stream.dropped).toBeGreaterThan(0);
  });
});

describe('PanicDetector', () => {
  const line = 'Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300';

  it('finds the message however the output is cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 10 }),
        fc.string(),
        (cuts, before) => {
          fc.pre(!before.includes('Kernel panic'));
          const found: string[] = [];
          const detector = new PanicDetector((message) => found.push(message));
          const output = bytes(`${before}[    1.0] ${line}\r\nCPU: 0`);
          for (let at = 0, index = 0; at < output.length; index++) {
            const length = cuts[index % cuts.length]!;
            detector.push(output.subarray(at, at + length));
            at += length;
          }
          expect(found).toEqual(['Attempted to kill init! exitcode=0x00000300']);
        },
      ),
    );
  });

  it('tells nothing for other output', () => {
    const found: string[] = [];
    const detector = new PanicDetector((message) => found.push(message));
    detector.push(bytes('Kernel panic is what did not happen\n'));
    expect(found).toEqual([]);
  });
});
