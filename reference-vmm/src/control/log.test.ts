import fc from 'fast-check';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConsoleLog } from './log.ts';

let directory = '';

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vmm-log-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const LIMIT = 64;

function contents(log: ConsoleLog, from = 0): string {
  let text = '';
  for (let place = Math.max(from, log.start); place < log.end;) {
    const { bytes, next } = log.read(place);
    text += Buffer.from(bytes).toString('latin1');
    place = next;
  }
  return text;
}

describe('the console log', () => {
  it('keeps the end of what was written, in two files of half its limit each, private ones', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 20 }), (chunks) => {
        using log = new ConsoleLog(directory, LIMIT);
        let all = '';
        for (const chunk of chunks) {
          log.write(chunk);
          all += Buffer.from(chunk).toString('latin1');
        }
        expect(log.end).toBe(all.length);
        expect(contents(log)).toBe(all.slice(log.start));
        expect(all.length - log.start).toBeGreaterThanOrEqual(Math.min(all.length, LIMIT / 2));
        for (const file of readdirSync(directory)) {
          const { size, mode } = statSync(join(directory, file));
          expect(size).toBeLessThanOrEqual(LIMIT / 2);
          expect(mode & 0o777).toBe(0o600);
        }
      }),
    );
  });

  it('lets readers keep their place while files rotate, and skips what is gone', () => {
    using log = new ConsoleLog(directory, LIMIT);
    log.write(Buffer.from('a'.repeat(20)));
    expect(log.end).toBe(20);
    log.write(Buffer.from('b'.repeat(20)));
    expect(contents(log, 15)).toBe('aaaaa' + 'b'.repeat(20));
    log.write(Buffer.from('c'.repeat(60)));
    expect(log.end).toBe(100);
    expect(contents(log, 15)).toBe('c'.repeat(36));
    expect(log.read(1000).bytes).toHaveLength(0);
  });

  it('wakes who waits for more, at the end too', async () => {
    using log = new ConsoleLog(directory, LIMIT);
    const { signal } = new AbortController();
    const more = log.changed(signal);
    log.write(Buffer.from('x'));
    await more;
    const end = log.changed(signal);
    log.finish();
    await end;
    expect(log.ended).toBe(true);
    await log.changed(signal);
  });

  it('goes on without what it cannot write, and reads what there is', () => {
    using log = new ConsoleLog(directory, LIMIT);
    log.write(Buffer.from('a'.repeat(32)));
    expect(log.end).toBe(32);
    rmSync(directory, { recursive: true });
    log.write(Buffer.from('b'.repeat(32)));
    expect(log.end).toBe(32);
    expect(log.lost).toBe(32);
    expect(contents(log)).toBe('a'.repeat(32));
  });
});
