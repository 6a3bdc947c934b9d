import fc from 'fast-check';
import { type VmmConfig, parseDuration, parseSize, validateConfig } from './config.ts';

const MIB = 1024 * 1024;
const limits = { maxCpus: 4, maxMemory: 3072 * MIB };
const valid: VmmConfig = { name: 'vm', cpus: 1, memory: 256 * MIB, disks: [] };

describe('parseSize', () => {
  it.each([
    ['512', 512 * MIB],
    ['512M', 512 * MIB],
    ['2G', 2048 * MIB],
    ['1.5G', 1536 * MIB],
    ['2GiB', 2048 * MIB],
    ['4096k', 4 * MIB],
  ])('%s', (text, bytes) => expect(parseSize(text)).toBe(bytes));

  it('refuses everything else with one error class', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          return Number.isSafeInteger(parseSize(text));
        } catch (error) {
          return error instanceof Error && 'code' in error && error.code === 'INVALID_CONFIG';
        }
      }),
    );
  });
});

describe('parseDuration', () => {
  it.each([
    ['30', 30_000],
    ['30s', 30_000],
    ['500ms', 500],
    ['1.5m', 90_000],
    ['1h', 3_600_000],
  ])('%s', (text, milliseconds) => expect(parseDuration(text)).toBe(milliseconds));

  it.each(['', '0', '-1', '1d', 'soon', '1e9', '999999h'])('refuses "%s"', (text) =>
    expect(() => parseDuration(text)).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' })),
  );
});

describe('validateConfig', () => {
  it('accepts what is in range', () => expect(() => validateConfig(valid, limits)).not.toThrow());

  it.each<[string, Partial<VmmConfig>]>([
    ['cpus 0', { cpus: 0 }],
    ['cpus 1.5', { cpus: 1.5 }],
    ['cpus NaN', { cpus: Number.NaN }],
    ['cpus above the limit', { cpus: 5 }],
    ['memory 0', { memory: 0 }],
    ['memory with a fraction of a MiB', { memory: 256 * MIB + 1 }],
    ['memory above the limit', { memory: 4096 * MIB }],
    ['a name with a slash', { name: 'a/b' }],
    ['a name with a dot', { name: '..' }],
    ['an empty command', { command: [] }],
    ['a command with a NUL', { command: ['a\0b'] }],
    ['a command for a kernel of the user', { command: ['true'], kernel: 'K' }],
    ['an initrd without a kernel', { initrd: 'I' }],
  ])('refuses %s', (_, change) =>
    expect(() => validateConfig({ ...valid, ...change }, limits)).toThrow(
      expect.objectContaining({ name: 'VmmError', code: 'INVALID_CONFIG' }),
    ),
  );
});
