import { codeOf } from '../test/support.ts';
import { FdtWriter, cells64, readFdt, writeFdt } from './index.ts';
import type { FdtFinishOptions } from './index.ts';

/** A writer whose root is open. */
function opened(): FdtWriter {
  const writer = new FdtWriter();
  writer.beginNode('');
  return writer;
}

describe('FdtWriter', () => {
  it('writes every kind of property as §2.2.4.2 has it', () => {
    const writer = opened();
    writer.propertyEmpty('empty');
    writer.propertyU32('u32', 0x01020304);
    writer.propertyU64('u64', 0x0102030405060708n);
    writer.propertyU64('u64-number', 2 ** 40 + 5);
    writer.propertyCells('cells', [1, 0xffffffff]);
    writer.propertyString('string', 'Ä');
    writer.propertyStringList('strings', ['a', '', 'bc']);
    writer.propertyBytes('bytes', new Uint8Array([1, 2, 3]));
    writer.property('mixed', [1, 2n]);
    writer.endNode();
    const { properties } = readFdt(writer.finish()).root;
    expect(Object.fromEntries([...properties].map(([name, value]) => [name, [...value]]))).toEqual({
      empty: [],
      u32: [1, 2, 3, 4],
      u64: [1, 2, 3, 4, 5, 6, 7, 8],
      'u64-number': [0, 0, 1, 0, 0, 0, 0, 5],
      cells: [0, 0, 0, 1, 255, 255, 255, 255],
      string: [0xc3, 0x84, 0],
      strings: [0x61, 0, 0, 0x62, 0x63, 0],
      bytes: [1, 2, 3],
      mixed: [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2],
    });
  });

  it.each<[string, (writer: FdtWriter) => void]>([
    ['a property before the root', (writer) => writer.propertyEmpty('a')],
    ['endNode() before the root', (writer) => writer.endNode()],
    ['finish() before the root', (writer) => writer.finish()],
    ['finish() with an open node', (writer) => (writer.beginNode(''), writer.finish())],
    [
      'a property after a child (§5.4.2)',
      (writer) => {
        writer.beginNode('');
        writer.beginNode('a');
        writer.endNode();
        writer.propertyEmpty('b');
      },
    ],
    [
      'a second root',
      (writer) => {
        writer.beginNode('');
        writer.endNode();
        writer.beginNode('');
      },
    ],
    [
      'a second finish()',
      (writer) => {
        writer.beginNode('');
        writer.endNode();
        writer.finish();
        writer.finish();
      },
    ],
    [
      'a reservation after finish()',
      (writer) => {
        writer.beginNode('');
        writer.endNode();
        writer.finish();
        writer.addReservation(1, 1);
      },
    ],
  ])('refuses %s with WRONG_STATE', (_, action) => {
    expect(codeOf(() => action(new FdtWriter()))).toBe('WRONG_STATE');
  });

  it.each(['', 'a b', 'a/b', 'a@b@c', 'ä', 'a\0', 'x'.repeat(256)])('refuses the node name %j', (name) => {
    expect(codeOf(() => opened().beginNode(name))).toBe('BAD_NAME');
  });

  it('refuses a root with a name', () => {
    expect(codeOf(() => new FdtWriter().beginNode('root'))).toBe('BAD_NAME');
  });

  it.each(['', 'a b', 'a/b', 'a@b', 'ä', 'a\0', 'x'.repeat(256)])('refuses the property name %j', (name) => {
    expect(codeOf(() => opened().propertyEmpty(name))).toBe('BAD_NAME');
  });

  it('refuses a name that the node already has', () => {
    const writer = opened();
    writer.propertyEmpty('a');
    expect(codeOf(() => writer.propertyU32('a', 1))).toBe('DUPLICATE_NAME');
    writer.beginNode('a');
    writer.endNode();
    expect(codeOf(() => writer.beginNode('a'))).toBe('DUPLICATE_NAME');
    writer.beginNode('a@1');
    writer.beginNode('a');
  });

  it.each<[string, (writer: FdtWriter) => void]>([
    ['a cell of 2^32', (writer) => writer.propertyU32('a', 2 ** 32)],
    ['a negative cell', (writer) => writer.propertyCells('a', [-1])],
    ['a fraction', (writer) => writer.propertyCells('a', [0.5])],
    ['a 64-bit value of 2^64', (writer) => writer.propertyU64('a', 1n << 64n)],
    ['an unsafe integer', (writer) => writer.propertyU64('a', 2 ** 60)],
    ['a string with NUL', (writer) => writer.propertyString('a', 'b\0c')],
    ['a reservation of nothing at 0, which ends the block', (writer) => writer.addReservation(0, 0)],
    ['a negative reservation', (writer) => writer.addReservation(-1, 1)],
    ['a boot CPU of 2^32', (writer) => (writer.bootCpuId = 2 ** 32)],
    ['a 64-bit cell pair of 2^53', () => cells64(2 ** 53)],
  ])('refuses %s with BAD_VALUE', (_, action) => {
    expect(codeOf(() => action(opened()))).toBe('BAD_VALUE');
  });

  it('hands out phandles that no node has', () => {
    const writer = opened();
    writer.beginNode('a');
    writer.propertyPhandle(1);
    writer.endNode();
    writer.beginNode('b');
    expect(writer.propertyPhandle()).toBe(2);
    writer.endNode();
    expect(writer.allocatePhandle()).toBe(3);
  });

  it.each<[string, (writer: FdtWriter) => void]>([
    ['0', (writer) => writer.propertyPhandle(0)],
    ['-1', (writer) => writer.propertyPhandle(0xffffffff)],
    ['of two cells', (writer) => writer.propertyCells('phandle', [1, 2])],
    ['that another node has', (writer) => writer.propertyPhandle(9)],
    [
      'that is not its linux,phandle',
      (writer) => {
        writer.propertyU32('linux,phandle', 5);
        writer.propertyPhandle(6);
      },
    ],
  ])('refuses a phandle %s with BAD_PHANDLE', (_, action) => {
    const writer = opened();
    writer.beginNode('a');
    writer.propertyPhandle(9);
    writer.endNode();
    writer.beginNode('b');
    expect(codeOf(() => action(writer))).toBe('BAD_PHANDLE');
  });

  it('goes 64 levels deep, as Linux does', () => {
    const writer = opened();
    for (let level = 1; level < 64; level++) writer.beginNode('n');
    expect(codeOf(() => writer.beginNode('n'))).toBe('TOO_DEEP');
    for (let level = 0; level < 64; level++) writer.endNode();
    expect(readFdt(writer.finish()).find('/n/n/n')?.path).toBe('/n/n/n');
  });

  it('is unharmed by a refused call', () => {
    const writer = opened();
    writer.propertyEmpty('a');
    codeOf(() => writer.propertyEmpty('a'));
    codeOf(() => writer.propertyU32('b', -1));
    codeOf(() => writer.beginNode('/'));
    codeOf(() => writer.finish());
    writer.propertyEmpty('c');
    writer.endNode();
    codeOf(() => writer.finish({ padTo: 4 }));
    expect(writer.finish()).toEqual(writeFdt({ name: '', properties: { a: true, c: true } }));
  });

  it.each<[FdtFinishOptions, string]>([
    [{ padTo: 40 }, 'TOO_LARGE'],
    [{ padTo: 2 ** 31 }, 'TOO_LARGE'],
    [{ padding: 2 ** 31 }, 'TOO_LARGE'],
    [{ spareReservations: 2 ** 28 }, 'TOO_LARGE'],
    [{ padding: -1 }, 'BAD_VALUE'],
    [{ alignTo: 12 }, 'BAD_VALUE'],
    [{ alignTo: 0 }, 'BAD_VALUE'],
  ])('refuses finish(%j)', (options, code) => {
    const writer = opened();
    writer.endNode();
    expect(codeOf(() => writer.finish(options))).toBe(code);
  });

  it('keeps the order of names that look like integers', () => {
    const root = { name: '', properties: [['10', true] as const, ['9', true] as const] };
    expect([...readFdt(writeFdt(root)).root.properties.keys()]).toEqual(['10', '9']);
  });
});
