import fc from 'fast-check';
import { codeOf } from '../test/support.ts';
import { CommandLine } from './index.ts';

describe('CommandLine', () => {
  it('separates parameters by one space', () => {
    const line = new CommandLine().append('  console=ttyAMA0 ').append('').set('quiet').set('loglevel', 7);
    expect(line.toString()).toBe('console=ttyAMA0 quiet loglevel=7');
  });

  it('quotes values with spaces', () => {
    expect(new CommandLine().set('init', '/bin/sh -c x').toString()).toBe('init="/bin/sh -c x"');
  });

  it('has room for 2047 bytes and the NUL (COMMAND_LINE_SIZE)', async () => {
    const line = new CommandLine().append('a'.repeat(2047));
    expect(line.toString()).toHaveLength(2047);
    expect(await codeOf(() => line.append('b'))).toBe('COMMAND_LINE_TOO_LONG');
    expect(await codeOf(() => new CommandLine().append('a'.repeat(2048)))).toBe('COMMAND_LINE_TOO_LONG');
    expect(line.toString()).toHaveLength(2047);
  });

  it('counts bytes of UTF-8, not characters', async () => {
    expect(new CommandLine(5).append('ää').toString()).toBe('ää');
    expect(await codeOf(() => new CommandLine(4).append('ää'))).toBe('COMMAND_LINE_TOO_LONG');
  });

  it.each(['a\0b', 'a\nb', 'a\rb', 'a\tb', 'a\x7fb'])('refuses control characters: %j', async (text) => {
    expect(await codeOf(() => new CommandLine().append(text))).toBe('BAD_COMMAND_LINE');
    expect(await codeOf(() => new CommandLine().set('x', text))).toBe('BAD_COMMAND_LINE');
  });

  it.each([
    ['', '1'],
    ['a b', '1'],
    ['a=b', '1'],
    ['a"', '1'],
    ['a', '"'],
  ])('refuses the parameter %j with the value %j', async (name, value) => {
    expect(await codeOf(() => new CommandLine().set(name, value))).toBe('BAD_COMMAND_LINE');
  });

  it.each([0, -1, 1.5, NaN])('refuses a limit of %d', async (limit) => {
    expect(await codeOf(() => new CommandLine(limit))).toBe('INVALID_ARGUMENT');
  });

  it('never grows beyond its limit nor holds a line end, whatever is appended', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 40 }),
        fc.array(fc.string({ unit: 'binary', maxLength: 20 })),
        async (limit, parts) => {
          const line = new CommandLine(limit);
          for (const part of parts) await codeOf(() => line.append(part));
          const text = line.toString();
          expect(new TextEncoder().encode(text).length + 1).toBeLessThanOrEqual(limit);
          expect(/[\0\r\n]/.test(text)).toBe(false);
        },
      ),
    );
  });
});
