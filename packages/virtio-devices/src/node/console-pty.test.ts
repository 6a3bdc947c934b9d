import { execFile } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { VirtioConsole } from '../index.ts';
import { MockMmioDriver } from '../mock/index.ts';
import { ConsolePortStream } from './console-stream.ts';
import { ConsolePty, type ConsolePtyOptions } from './console-pty.ts';

/** A program that has the terminal open. */
class Program {
  readonly fd: number;

  constructor(path: string) {
    const { O_RDWR, O_NOCTTY, O_NONBLOCK } = fs.constants;
    this.fd = fs.openSync(path, O_RDWR | O_NOCTTY | O_NONBLOCK);
    programs.push(this);
  }

  write(text: string): void {
    fs.writeSync(this.fd, text);
  }

  /** Writes until the terminal takes no more. @returns bytes */
  fill(): number {
    for (let total = 0; ;) {
      try {
        total += fs.writeSync(this.fd, new Uint8Array(1024).fill(65));
      } catch (error) {
        expect(error).toMatchObject({ code: 'EAGAIN' });
        return total;
      }
    }
  }

  async read(length: number): Promise<string> {
    const chunks: Buffer[] = [];
    for (let left = length; left > 0;) {
      const chunk = Buffer.alloc(left);
      try {
        const got = fs.readSync(this.fd, chunk);
        if (got === 0) break;
        chunks.push(chunk.subarray(0, got));
        left -= got;
      } catch (error) {
        expect(error).toMatchObject({ code: 'EAGAIN' });
        await turn();
      }
    }
    return Buffer.concat(chunks).toString('latin1');
  }

  close(): void {
    fs.closeSync(this.fd);
    programs.splice(programs.indexOf(this), 1);
  }
}

const programs: Program[] = [];
const terminals: ConsolePty[] = [];

function open(options: ConsolePtyOptions = {}): ConsolePty {
  const pty = new ConsolePty(options);
  terminals.push(pty);
  return pty;
}

/** Collects what comes from a stream. */
function collect(pty: ConsolePty): { text: string; until(length: number): Promise<string> } {
  const collected = {
    text: '',
    async until(length: number): Promise<string> {
      while (collected.text.length < length) await once(pty, 'data');
      return collected.text;
    },
  };
  pty.on('data', (bytes: Uint8Array) => (collected.text += Buffer.from(bytes).toString('latin1')));
  return collected;
}

const stty = async (path: string, ...settings: string[]): Promise<string> =>
  (await promisify(execFile)('stty', ['-F', path, ...settings])).stdout.trim();

afterEach(() => {
  for (const program of [...programs]) program.close();
  for (const pty of terminals.splice(0)) pty.destroy();
});

describe('a pseudo-terminal', () => {
  it('carries bytes both ways as they are, and echoes nothing', async () => {
    const pty = open();
    const typed = collect(pty);
    const program = new Program(pty.path);
    program.write('ls\r\x03\x04\n\xff');
    pty.write(Buffer.from('a\nb\r\x13\x7f', 'latin1'));
    expect(await program.read(6)).toBe('a\nb\r\x13\x7f');
    program.write('.');
    expect(await typed.until(9)).toBe('ls\r\x03\x04\n\xc3\xbf.');
  });

  it('delivers what a program wrote before it closed the terminal, and goes on with the next', async () => {
    const pty = open();
    const typed = collect(pty);
    const first = new Program(pty.path);
    await once(pty, 'attach');
    expect(pty.attached).toBe(true);
    const detached = once(pty, 'detach');
    first.write('bye');
    first.close();
    await detached;
    expect(typed.text).toBe('bye');
    expect(pty.attached).toBe(false);
    const second = new Program(pty.path);
    second.write('again');
    expect(await typed.until(8)).toBe('byeagain');
    pty.write('hello');
    expect(await second.read(5)).toBe('hello');
  });

  it('delivers what a program left that came and went while nobody looked', async () => {
    const pty = open();
    const typed = collect(pty);
    const program = new Program(pty.path);
    program.write('short');
    program.close();
    expect(await typed.until(5)).toBe('short');
  });

  it('keeps what a program left until the stream is read', async () => {
    const pty = open();
    const program = new Program(pty.path);
    const size = program.fill();
    program.close();
    await sleep(450);
    expect((await collect(pty).until(size)).length).toBe(size);
  });

  it('leaves the event loop alone while nobody has it open', async () => {
    const pty = open({ backlog: 16 });
    collect(pty);
    const program = new Program(pty.path);
    await once(pty, 'attach');
    program.fill();
    pty.write(new Uint8Array(200_000));
    program.close();
    await once(pty, 'detach');
    const turns = (): number => performance.nodeTiming.uvMetricsInfo.loopCount;
    const before = turns();
    await sleep(500);
    expect(turns() - before).toBeLessThan(100);
  });

  it('keeps the last output for the next program', async () => {
    const pty = open({ backlog: 10 });
    pty.write('0123456789');
    pty.write('abcde');
    const program = new Program(pty.path);
    expect(await program.read(10)).toBe('56789abcde');
  });

  it('is raw again for the next program, whatever the last one set', async () => {
    const pty = open();
    const typed = collect(pty);
    const program = new Program(pty.path);
    await stty(pty.path, 'sane');
    expect(await stty(pty.path, '-a')).toContain(' icanon');
    program.close();
    while (!(await stty(pty.path, '-a')).includes('-icanon')) await turn();
    new Program(pty.path).write('x\n');
    pty.write('not echoed');
    expect(await typed.until(2)).toBe('x\n');
  });
});

describe('flow control of a pseudo-terminal', () => {
  it('holds writes until the program reads, and loses nothing', async () => {
    const pty = open();
    const program = new Program(pty.path);
    const text = Array.from({ length: 50_000 }, (_, i) => String.fromCharCode(33 + (i % 90))).join('');
    let written = false;
    pty.write(text, () => (written = true));
    await sleep(20);
    expect(written).toBe(false);
    expect(await program.read(text.length)).toBe(text);
    expect(written).toBe(true);
  });

  it('holds the program until the stream is read', async () => {
    const pty = open();
    const program = new Program(pty.path);
    let total = program.fill();
    await sleep(450);
    total += program.fill();
    expect(total).toBeLessThan(1024 * 1024);
    const typed = collect(pty);
    expect((await typed.until(total)).length).toBe(total);
    program.write('more');
    expect((await typed.until(total + 4)).slice(total)).toBe('more');
  });
});

describe("a pseudo-terminal's window size", () => {
  it('is what programs see, and what they set is reported', async () => {
    const pty = open({ size: { columns: 100, rows: 40 } });
    expect(await stty(pty.path, 'size')).toBe('40 100');
    // stty sets one after the other.
    const sizes: unknown[] = [];
    pty.on('resize', (size) => sizes.push(size));
    await stty(pty.path, 'rows', '50', 'cols', '132');
    while (pty.size.columns !== 132) await once(pty, 'resize');
    expect(pty.size).toEqual({ columns: 132, rows: 50 });
    expect(sizes.at(-1)).toEqual({ columns: 132, rows: 50 });
    pty.setSize({ columns: 20, rows: 10 });
    expect(await stty(pty.path, 'size')).toBe('10 20');
  });

  it('is checked', () => {
    expect(() => open({ size: { columns: 65536, rows: 1 } })).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }) as Error,
    );
    expect(() => open().setSize({ columns: 1, rows: 1.5 })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }) as Error,
    );
  });
});

describe('the end of a pseudo-terminal', () => {
  it('comes when the program has read what was written', async () => {
    const pty = open();
    const program = new Program(pty.path);
    await once(pty, 'attach');
    pty.end('last words');
    await sleep(60);
    expect(pty.writableFinished).toBe(false);
    expect(await program.read(10)).toBe('last words');
    await once(pty, 'finish');
    expect(await program.read(1)).toBe('');
  });

  it('comes at once when nobody has it open', async () => {
    const pty = open();
    pty.resume();
    pty.end('unread');
    await once(pty, 'close');
    expect(fs.existsSync(pty.path)).toBe(false);
  });

  it('takes the link along, unless that leads elsewhere by now', () => {
    const folder = fs.mkdtempSync(join(tmpdir(), 'vmm-pty-'));
    try {
      const link = join(folder, 'console');
      const first = open({ link });
      expect(fs.readlinkSync(link)).toBe(first.path);
      const second = open({ link });
      first.destroy();
      expect(fs.readlinkSync(link)).toBe(second.path);
      second.destroy();
      expect(fs.readdirSync(folder)).toEqual([]);
      fs.writeFileSync(link, '');
      expect(() => open({ link })).toThrow(expect.objectContaining({ code: 'IN_USE' }) as Error);
      expect(fs.readFileSync(link, 'utf8')).toBe('');
    } finally {
      fs.rmSync(folder, { recursive: true });
    }
  });
});

describe('a pseudo-terminal for a console port', () => {
  it('is what the guest talks with, at the pace of both', async () => {
    const device = new VirtioConsole();
    const pty = open();
    const stream = new ConsolePortStream(device.console);
    pty.pipe(stream).pipe(pty);
    pty.on('resize', (size) => device.resize(size));
    const driver = new MockMmioDriver(device).start();
    const program = new Program(pty.path);
    program.write('login\n');
    driver.rings[0]!.add([{ writable: 64 }]);
    driver.kick(0);
    let used = driver.rings[0]!.collect();
    for (; used.length === 0; used = driver.rings[0]!.collect()) await turn();
    expect(Buffer.from(used[0]!.written).toString()).toBe('login\n');

    for (let i = 0; i < 8; i++) driver.rings[1]!.add([{ readable: new Uint8Array(60_000).fill(97 + i) }]);
    driver.kick(1);
    await sleep(20);
    expect(driver.rings[1]!.pendingChains).toBeGreaterThan(0);
    const text = await program.read(480_000);
    expect(text).toBe(Array.from('abcdefgh', (letter) => letter.repeat(60_000)).join(''));

    await stty(pty.path, 'rows', '50', 'cols', '132');
    while (device.size.columns !== 132) await once(pty, 'resize');
    expect(device.size).toEqual({ columns: 132, rows: 50 });
    stream.destroy();
  });
});
