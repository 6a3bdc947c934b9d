import fc from 'fast-check';
import { codeOf, tree } from '../test/support.ts';
import { FdtError, FdtWriter, readFdt, writeFdt } from './index.ts';

/** Words of a structure block; strings are names, padded to words. */
type Token = number | string;
const [BEGIN, END_NODE, PROP, NOP, END] = [1, 2, 3, 4, 9] as const;

interface Parts {
  readonly structure: readonly Token[];
  readonly strings?: string;
  /** Header words to replace, by index. */
  readonly header?: Readonly<Record<number, number>>;
}

/** A blob put together by hand: header, one terminating reservation, structure, strings. */
function blob({ structure, strings = 'a\0phandle\0', header = {} }: Parts): Uint8Array {
  const body: number[] = [];
  for (const token of structure) {
    if (typeof token === 'number')
      body.push(token >>> 24, (token >>> 16) & 255, (token >>> 8) & 255, token & 255);
    else {
      for (let index = 0; index <= token.length; index++) body.push(token.charCodeAt(index) || 0);
      while (body.length % 4 !== 0) body.push(0);
    }
  }
  const stringsAt = 56 + body.length;
  const total = stringsAt + strings.length;
  const fields = [0xd00dfeed, total, 56, stringsAt, 40, 17, 16, 0, strings.length, body.length];
  const bytes = new Uint8Array(total);
  const view = new DataView(bytes.buffer);
  fields.forEach((field, index) => view.setUint32(index * 4, header[index] ?? field));
  bytes.set(body, 56);
  bytes.set(new TextEncoder().encode(strings), stringsAt);
  return bytes;
}

const ROOT = [BEGIN, '', END_NODE, END] as const;

describe('readFdt', () => {
  it('reads a tree with FDT_NOP anywhere (§5.4.1)', () => {
    const structure = [
      NOP,
      BEGIN,
      '',
      NOP,
      PROP,
      4,
      0,
      7,
      NOP,
      BEGIN,
      'n',
      NOP,
      END_NODE,
      NOP,
      END_NODE,
      NOP,
      END,
    ];
    const { root } = readFdt(blob({ structure }));
    expect(root.u32('a')).toBe(7);
    expect(root.child('n')?.path).toBe('/n');
  });

  it('reads a tail of a name in the strings block', () => {
    const { root } = readFdt(blob({ structure: [BEGIN, '', PROP, 0, 1, END_NODE, END], strings: 'ab\0' }));
    expect([...root.properties.keys()]).toEqual(['b']);
  });

  it('reads a blob inside a larger one, at any offset', () => {
    const inner = writeFdt({ name: '', properties: { a: [1, 2] } });
    const outer = new Uint8Array(inner.length + 9).fill(0xaa);
    outer.set(inner, 3);
    expect(readFdt(outer.subarray(3)).root.cells('a')).toEqual([1, 2]);
  });

  it.each<[string, Parts | Uint8Array, string]>([
    ['nothing', new Uint8Array(0), 'TRUNCATED'],
    ['less than a header', blob({ structure: ROOT }).subarray(0, 35), 'TRUNCATED'],
    ['less than totalsize', blob({ structure: ROOT }).subarray(0, 60), 'TRUNCATED'],
    ['another magic', { structure: ROOT, header: { 0: 0xedfe0dd0 } }, 'BAD_MAGIC'],
    ['version 15', { structure: ROOT, header: { 5: 15, 6: 15 } }, 'UNSUPPORTED_VERSION'],
    [
      'compatibility from version 18 on',
      { structure: ROOT, header: { 5: 18, 6: 18 } },
      'UNSUPPORTED_VERSION',
    ],
    [
      'compatibility with a later version',
      { structure: ROOT, header: { 5: 16, 6: 17 } },
      'UNSUPPORTED_VERSION',
    ],
    ['a totalsize less than a header', { structure: ROOT, header: { 1: 39 } }, 'BAD_LAYOUT'],
    ['an unaligned structure block', { structure: ROOT, header: { 2: 58 } }, 'BAD_LAYOUT'],
    ['a structure block inside the header', { structure: ROOT, header: { 2: 36 } }, 'BAD_LAYOUT'],
    ['a structure block beyond the blob', { structure: ROOT, header: { 2: 0xfffffffc } }, 'BAD_LAYOUT'],
    ['a structure block that is too long', { structure: ROOT, header: { 9: 0xffffffff } }, 'BAD_LAYOUT'],
    ['a strings block beyond the blob', { structure: ROOT, header: { 3: 0xffffffff } }, 'BAD_LAYOUT'],
    ['a strings block that is too long', { structure: ROOT, header: { 8: 0xffffffff } }, 'BAD_LAYOUT'],
    ['an unaligned reservation block', { structure: ROOT, header: { 4: 44 } }, 'BAD_LAYOUT'],
    ['reservations beyond the blob', { structure: ROOT, header: { 4: 0xfffffff8 } }, 'BAD_LAYOUT'],
    ['reservations without end', { structure: ROOT, header: { 4: 56 } }, 'BAD_LAYOUT'],
    ['an empty structure block', { structure: [] }, 'BAD_STRUCTURE'],
    ['no node', { structure: [END] }, 'BAD_STRUCTURE'],
    ['no FDT_END', { structure: [BEGIN, '', END_NODE] }, 'BAD_STRUCTURE'],
    ['FDT_END in an open node', { structure: [BEGIN, '', END] }, 'BAD_STRUCTURE'],
    ['two roots', { structure: [BEGIN, '', END_NODE, BEGIN, '', END_NODE, END] }, 'BAD_STRUCTURE'],
    ['an end of no node', { structure: [END_NODE, END] }, 'BAD_STRUCTURE'],
    ['an unknown token', { structure: [BEGIN, '', 5, END_NODE, END] }, 'BAD_STRUCTURE'],
    ['a property outside of a node', { structure: [PROP, 0, 0, END] }, 'BAD_STRUCTURE'],
    ['a property after the root', { structure: [BEGIN, '', END_NODE, PROP, 0, 0, END] }, 'BAD_STRUCTURE'],
    [
      'a property after a child (§5.4.2)',
      { structure: [BEGIN, '', BEGIN, 'n', END_NODE, PROP, 0, 0, END_NODE, END] },
      'BAD_STRUCTURE',
    ],
    [
      'a property longer than the block',
      { structure: [BEGIN, '', PROP, 13, 0, END_NODE, END] },
      'BAD_STRUCTURE',
    ],
    ['a property of 2^32-1 bytes', { structure: [BEGIN, '', PROP, 0xffffffff, 0, END] }, 'BAD_STRUCTURE'],
    ['a cut property header', { structure: [BEGIN, '', PROP, 0] }, 'BAD_STRUCTURE'],
    [
      'a property name beyond the strings',
      { structure: [BEGIN, '', PROP, 0, 99, END_NODE, END] },
      'BAD_STRUCTURE',
    ],
    ['a property name of 2^32-1', { structure: [BEGIN, '', PROP, 0, 0xffffffff, END] }, 'BAD_STRUCTURE'],
    [
      'a property name without NUL',
      { structure: [BEGIN, '', PROP, 0, 0, END_NODE, END], strings: 'a' },
      'BAD_STRUCTURE',
    ],
    ['a node name without NUL', { structure: [BEGIN, 0x61616161] }, 'BAD_STRUCTURE'],
    [
      'a node name of 256 characters',
      { structure: [BEGIN, '', BEGIN, 'n'.repeat(256), END] },
      'BAD_STRUCTURE',
    ],
    ['a root with a name', { structure: [BEGIN, 'root', END_NODE, END] }, 'BAD_NAME'],
    ['a child without a name', { structure: [BEGIN, '', BEGIN, '', END_NODE, END_NODE, END] }, 'BAD_NAME'],
    ['a slash in a node name', { structure: [BEGIN, '', BEGIN, 'a/b', END_NODE, END_NODE, END] }, 'BAD_NAME'],
    ['an empty property name', { structure: [BEGIN, '', PROP, 0, 1, END_NODE, END] }, 'BAD_NAME'],
    [
      'a property name with a space',
      { structure: [BEGIN, '', PROP, 0, 0, END_NODE, END], strings: 'a b\0' },
      'BAD_NAME',
    ],
    ['a property twice', { structure: [BEGIN, '', PROP, 0, 0, PROP, 0, 0, END_NODE, END] }, 'DUPLICATE_NAME'],
    [
      'a node twice',
      { structure: [BEGIN, '', BEGIN, 'n', END_NODE, BEGIN, 'n', END_NODE, END_NODE, END] },
      'DUPLICATE_NAME',
    ],
    ['a phandle of 0', { structure: [BEGIN, '', PROP, 4, 2, 0, END_NODE, END] }, 'BAD_PHANDLE'],
    ['a phandle of 8 bytes', { structure: [BEGIN, '', PROP, 8, 2, 1, 1, END_NODE, END] }, 'BAD_PHANDLE'],
    [
      'a phandle twice',
      { structure: [BEGIN, '', PROP, 4, 2, 1, BEGIN, 'n', PROP, 4, 2, 1, END_NODE, END_NODE, END] },
      'BAD_PHANDLE',
    ],
    [
      'a tree 65 levels deep',
      {
        structure: [
          BEGIN,
          '',
          ...Array.from({ length: 64 }, () => [BEGIN, 'n']).flat(),
          ...Array<number>(65).fill(END_NODE),
          END,
        ],
      },
      'TOO_DEEP',
    ],
  ])('refuses %s', (_, parts, code) => {
    expect(codeOf(() => readFdt(parts instanceof Uint8Array ? parts : blob(parts)))).toBe(code);
  });

  it('gives back any tree that was written, value by value', () => {
    fc.assert(
      fc.property(
        tree,
        fc.array(
          fc.record({ address: fc.bigInt(1n, (1n << 64n) - 1n), size: fc.bigInt(0n, (1n << 64n) - 1n) }),
          {
            maxLength: 3,
          },
        ),
        fc.nat({ max: 0xffffffff }),
        (root, reservations, bootCpuId) => {
          const bytes = writeFdt(root, { reservations, bootCpuId });
          const read = readFdt(bytes);
          expect(read.reservations).toEqual(reservations);
          expect(read.bootCpuId).toBe(bootCpuId);
          expect(writeFdt(read.root, read)).toEqual(bytes);
        },
      ),
    );
  });

  it('answers any damaged blob with an FdtError or with a tree that can be written', () => {
    const damage = fc.array(
      fc.record({
        at: fc.nat(),
        value: fc.oneof(fc.nat({ max: 255 }), fc.constantFrom(0, 1, 2, 3, 4, 9, 255)),
      }),
      { minLength: 1, maxLength: 6 },
    );
    let refused = 0;
    fc.assert(
      fc.property(tree, damage, fc.nat({ max: 8 }), (root, changes, cut) => {
        const bytes = writeFdt(root, { reservations: [{ address: 1, size: 2 }] });
        for (const { at, value } of changes) bytes[at % bytes.length] = value;
        let read;
        try {
          read = readFdt(bytes.subarray(0, bytes.length - (cut === 8 ? 1 : 0)));
        } catch (error) {
          if (!(error instanceof FdtError)) throw error;
          refused++;
          return;
        }
        const again = writeFdt(read.root, read);
        const reread = readFdt(again);
        expect(writeFdt(reread.root, reread)).toEqual(again);
      }),
      { numRuns: 3000 },
    );
    expect(refused).toBeGreaterThan(300);
  });

  it('answers any words in the structure block with an FdtError or with a tree', () => {
    const word = fc.oneof(
      { weight: 6, arbitrary: fc.constantFrom<Token>(BEGIN, END_NODE, PROP, NOP, END, 0, 4, '', 'n', 'm') },
      { weight: 1, arbitrary: fc.nat({ max: 0xffffffff }) },
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 24 }), (words) => {
        try {
          readFdt(blob({ structure: [BEGIN, '', ...words, END_NODE, END] }));
        } catch (error) {
          if (!(error instanceof FdtError)) throw error;
        }
      }),
      { numRuns: 3000 },
    );
  });

  it('reads 100000 nodes that share one long name in linear space', () => {
    const writer = new FdtWriter();
    writer.beginNode('');
    for (let index = 0; index < 100_000; index++) {
      writer.beginNode(`n@${index.toString(16)}`);
      writer.propertyU32('p'.repeat(255), index);
      writer.endNode();
    }
    writer.endNode();
    expect(readFdt(writer.finish()).find('/n@1869f')?.u32('p'.repeat(255))).toBe(99_999);
  });
});
