import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { FdtError } from '../src/index.ts';
import type { FdtErrorCode, FdtNodeInput, FdtValue } from '../src/index.ts';

/** Debian packages of the programs that tests compare with. */
const PACKAGES = { dtc: 'device-tree-compiler', 'qemu-system-aarch64': 'qemu-system-arm' } as const;

/** Runs an oracle; a missing one fails the test and names its package. */
export function runTool(
  name: keyof typeof PACKAGES,
  args: readonly string[],
  input: Uint8Array | string = '',
): Uint8Array {
  try {
    return new Uint8Array(
      execFileSync(name, args, { input, maxBuffer: 64 << 20, stdio: ['pipe', 'pipe', 'pipe'] }),
    );
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') {
      throw new Error(`this test needs ${name}: apt-get install ${PACKAGES[name]}`, { cause });
    }
    throw cause;
  }
}

/** Compiles or decompiles with dtc; its opinions on the tree's contents are not asked for. */
export function dtc(
  from: 'dts' | 'dtb',
  to: 'dts' | 'dtb',
  input: Uint8Array | string,
  ...options: string[]
): Uint8Array {
  return runTool('dtc', ['-q', '-q', '-f', '-I', from, '-O', to, ...options, '-'], input);
}

/** Folder of the device trees in Debian's u-boot-sunxi. */
export function debianTrees(): string {
  const script = fileURLToPath(new URL('../scripts/debian-dtbs.mjs', import.meta.url));
  return execFileSync(process.execPath, [script], { encoding: 'utf8' }).trim();
}

/** The code of the FdtError that `action` throws; anything else thrown goes on. */
export function codeOf(action: () => unknown): FdtErrorCode | 'none' {
  try {
    action();
  } catch (error) {
    if (error instanceof FdtError) return error.code;
    throw error;
  }
  return 'none';
}

const CHARACTERS = 'abcxyzAZ019,._+-'.split('');
const text = (characters: readonly string[], maxLength: number): fc.Arbitrary<string> =>
  fc.array(fc.constantFrom(...characters), { minLength: 1, maxLength }).map((parts) => parts.join(''));

const nodeName: fc.Arbitrary<string> = fc
  .tuple(text(CHARACTERS, 9), fc.option(text('0123456789abcdef,'.split(''), 6)))
  .map(([name, unit]) => (unit === null ? name : `${name}@${unit}`));
/** Short, so that many share tails. dtc gives `name` a meaning of its own, and phandles have tests of theirs. */
const propertyName: fc.Arbitrary<string> = text([...CHARACTERS, '?', '#'], 6).filter(
  (name) => name !== 'name',
);

export const value: fc.Arbitrary<FdtValue> = fc.oneof(
  fc.constant(true as const),
  fc.nat({ max: 0xffffffff }),
  fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
  fc.string({ unit: 'grapheme-ascii', maxLength: 12 }),
  fc.array(fc.nat({ max: 0xffffffff }), { maxLength: 6 }),
  fc.array(fc.string({ unit: 'grapheme-ascii', maxLength: 6 }), { minLength: 1, maxLength: 4 }),
  fc.uint8Array({ maxLength: 21 }),
);

const unique = <T>(values: readonly T[], key: (value: T) => string): T[] => [
  ...new Map(values.map((item) => [key(item), item])).values(),
];

/** Nodes with up to `levels` levels of children. */
function node(levels: number): fc.Arbitrary<FdtNodeInput> {
  return fc
    .record({
      name: nodeName,
      properties: fc.array(fc.tuple(propertyName, value), { maxLength: 6 }),
      children: levels === 0 ? fc.constant([]) : fc.array(node(levels - 1), { maxLength: 3 }),
    })
    .map(({ name, properties, children }) => ({
      name,
      properties: unique(properties, (property) => property[0]),
      children: unique(children, (child) => child.name),
    }));
}

/** Trees of all kinds of values. */
export const tree: fc.Arbitrary<FdtNodeInput> = node(4).map((root) => ({ ...root, name: '' }));

/** The dts source of a tree, each kind of value in its own notation. */
export function toDts(root: FdtNodeInput): string {
  return `/dts-v1/;\n${nodeSource({ ...root, name: '/' })}`;
}

function nodeSource(from: FdtNodeInput): string {
  const properties = [...(from.properties as Iterable<[string, FdtValue]>)].map(([name, of]) =>
    of === true ? `${name};` : `${name} = ${valueSource(of)};`,
  );
  return `${from.name} {\n${[...properties, ...(from.children ?? []).map(nodeSource)].join('\n')}\n};`;
}

function valueSource(of: Exclude<FdtValue, true>): string {
  if (of instanceof Uint8Array)
    return `[${Array.from(of, (byte) => byte.toString(16).padStart(2, '0')).join(' ')}]`;
  if (typeof of === 'string') return quote(of);
  if (typeof of === 'bigint') return `/bits/ 64 <0x${of.toString(16)}>`;
  if (typeof of === 'number') return `<0x${of.toString(16)}>`;
  if (typeof of[0] === 'string') return of.map((item) => quote(String(item))).join(', ');
  return `<${of.map((cell) => `0x${cell.toString(16)}`).join(' ')}>`;
}

function quote(content: string): string {
  return `"${content.replace(/[\\"]/g, '\\$&')}"`;
}
