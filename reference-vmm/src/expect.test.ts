import { jest } from '@jest/globals';
import fc from 'fast-check';
import { ConsoleExpect } from './expect.ts';
import { ConsoleStream } from './streams.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const code = (value: string): unknown => expect.objectContaining({ name: 'VmmError', code: value });
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

describe('ConsoleExpect', () => {
  it('finds what has been shown already, and what will be', async () => {
    const output = new ConsoleExpect();
    output.push(bytes('booting\nlogin: '));
    expect(await output.expect('login: ')).toEqual({
      text: 'login: ',
      groups: [],
      named: {},
      before: 'booting\n',
    });
    const later = output.expect(/code=(?<code>\d+)(x)?\n/);
    output.push(bytes('root\nco'));
    output.push(bytes('de=42\n'));
    expect(await later).toEqual({
      text: 'code=42\n',
      groups: ['42', undefined],
      named: { code: '42' },
      before: 'root\n',
    });
  });

  it('looks behind the last match, so that one prompt is not two', async () => {
    const output = new ConsoleExpect();
    output.push(bytes('$ one\n$ '));
    expect((await output.expect('$ ')).before).toBe('');
    expect((await output.expect('$ ')).before).toBe('one\n');
    const third = output.expect('$ ');
    await turn();
    output.push(bytes('two\n$ '));
    expect((await third).before).toBe('two\n');
  });

  it('shows the same output to all who wait for it', async () => {
    const output = new ConsoleExpect();
    const [late, early] = [output.expect('two'), output.expect(/one/g)];
    output.push(bytes('one two'));
    expect((await early).before).toBe('');
    expect((await late).before).toBe('one ');
  });

  it('joins characters that come in pieces', async () => {
    const output = new ConsoleExpect();
    const found = output.expect('größe');
    for (const byte of bytes('die größe')) {
      output.push(Uint8Array.of(byte));
      await turn();
    }
    expect((await found).before).toBe('die ');
  });

  it('keeps a window and forgets what is before it, asked or not', async () => {
    const output = new ConsoleExpect();
    output.push(bytes('needle '));
    const block = bytes('x'.repeat(4096));
    for (let i = 0; i < 40; i++) output.push(block);
    output.push(bytes('end'));
    const { before } = await output.expect('end');
    expect(before.length).toBeGreaterThanOrEqual(65_000);
    expect(before.length).toBeLessThanOrEqual(65_536);
    expect(before).not.toContain('needle');
    const gone = output.expect('needle');
    output.push(bytes('needle'.slice(0, 3)));
    for (let i = 0; i < 40; i++) {
      output.push(block);
      await turn();
    }
    output.push(bytes('dle'));
    output.end();
    await expect(gone).rejects.toEqual(code('ENDED'));
  });

  it('keeps the window when output comes a character at a time', async () => {
    const output = new ConsoleExpect();
    const text = Array.from({ length: 30_000 }, (_, index) => `${index} `).join('');
    for (const byte of bytes(text)) output.push(Uint8Array.of(byte));
    const { before } = await output.expect('29999 ');
    expect(before.length).toBe(65_536);
    expect(text.endsWith(`${before}29999 `)).toBe(true);
  });

  it('says what it saw when the time is over', async () => {
    jest.useFakeTimers({ doNotFake: ['setImmediate'] });
    try {
      const output = new ConsoleExpect();
      const found = output.expect(/never/, { timeout: 50 });
      const refused = expect(found).rejects.toEqual(
        expect.objectContaining({
          code: 'TIMED_OUT',
          message: '50 ms: the console did not show /never/: last it showed "something"',
        }),
      );
      output.push(bytes('something'));
      await turn();
      jest.advanceTimersByTime(50);
      await refused;
    } finally {
      jest.useRealTimers();
    }
  });

  it('ends with the signal, before or while it waits', async () => {
    const output = new ConsoleExpect();
    const reason = new Error('enough');
    await expect(output.expect('a', { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const found = output.expect('a', { signal: controller.signal });
    controller.abort(reason);
    await expect(found).rejects.toBe(reason);
    output.push(bytes('a'));
    expect((await output.expect('a')).text).toBe('a');
  });

  it('rejects when the VM ends, after a last look', async () => {
    const output = new ConsoleExpect();
    const [found, missed] = [output.expect('bye'), output.expect('hello')];
    const refused = expect(missed).rejects.toEqual(code('ENDED'));
    output.push(bytes('good bye'));
    output.end();
    expect((await found).before).toBe('good ');
    await refused;
    await expect(output.expect('more')).rejects.toEqual(code('ENDED'));
  });

  it.each([-1, NaN, 2 ** 31])('refuses a timeout of %d ms', async (timeout) => {
    await expect(new ConsoleExpect().expect('a', { timeout })).rejects.toEqual(code('INVALID_REQUEST'));
  });

  it('finds every line once, however the output is cut', async () => {
    const cuts = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(cuts, fc.boolean(), async (sizes, waits) => {
        const text = Array.from({ length: 8 }, (_, line) => `line ${line}\n`).join('');
        const output = new ConsoleExpect();
        const found: string[] = [];
        const reader = (async (): Promise<void> => {
          for (let i = 0; i < 8; i++) found.push((await output.expect(/line (\d)\n/)).groups[0]!);
        })();
        for (let at = 0, i = 0; at < text.length; i++) {
          const size = sizes[i % sizes.length]!;
          output.push(bytes(text.slice(at, at + size)));
          at += size;
          if (waits) await turn();
        }
        await reader;
        expect(found).toEqual(['0', '1', '2', '3', '4', '5', '6', '7']);
      }),
      { numRuns: 50 },
    );
  });
});

describe('ConsoleStream', () => {
  it('does not make the guest wait for a reader while somebody waits for output', async () => {
    const stream = new ConsoleStream(() => Promise.resolve());
    const block = new Uint8Array(16_384).fill(0x78);
    let held: Promise<void> | undefined;
    while (held === undefined) held = stream.virtioSink(block);
    const found = stream.expect('ready');
    await held;
    for (let i = 0; i < 300; i++) expect(stream.virtioSink(block)).toBeUndefined();
    expect(stream.dropped).toBeGreaterThan(0);
    void stream.virtioSink(bytes('ready'));
    await found;
    // Nobody waits any more: the guest does.
    expect(stream.virtioSink(block)).toBeInstanceOf(Promise);
    stream.destroy();
  });

  it('gives readers what was looked at, and their pace to the guest', async () => {
    const stream = new ConsoleStream(() => Promise.resolve());
    const seen: string[] = [];
    stream.once('data', (chunk: Uint8Array) => {
      seen.push(Buffer.from(chunk).toString());
      stream.pause();
    });
    const found = stream.expect('one');
    stream.serialSink(bytes('one'));
    await found;
    await turn();
    expect(seen).toEqual(['one']);
    const rest = stream.expect('rest');
    let held: Promise<void> | undefined;
    while (held === undefined) held = stream.virtioSink(new Uint8Array(16_384));
    expect(stream.dropped).toBe(0);
    stream.finish();
    await expect(rest).rejects.toEqual(code('ENDED'));
    stream.destroy();
  });
});
