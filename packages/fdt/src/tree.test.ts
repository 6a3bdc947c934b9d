import { codeOf } from '../test/support.ts';
import { readFdt, writeFdt } from './index.ts';

const fdt = readFdt(
  writeFdt({
    name: '',
    properties: {
      compatible: ['acme,board', 'acme,soc'],
      model: 'Acmé',
      cells: [1, 2, 3],
      wide: 0xfedcba9876543210n,
      one: 7,
      odd: new Uint8Array([1, 2, 3, 4, 5]),
      'not-text': new Uint8Array([0xff, 0]),
      'no-end': new Uint8Array([0x61]),
      empty: true,
    },
    children: [
      {
        name: 'soc',
        children: [
          { name: 'uart@1000', properties: { compatible: 'arm,pl011', phandle: 3 } },
          { name: 'uart@2000', properties: { compatible: ['x', 'arm,pl011'] } },
          { name: 'rtc@3000' },
        ],
      },
    ],
  }),
);

describe('FdtNode', () => {
  it('reads values by their type', () => {
    const { root: node } = fdt;
    expect(node.strings('compatible')).toEqual(['acme,board', 'acme,soc']);
    expect(node.string('model')).toBe('Acmé');
    expect(node.cells('cells')).toEqual([1, 2, 3]);
    expect(node.u64('wide')).toBe(0xfedcba9876543210n);
    expect(node.u32('one')).toBe(7);
    expect(node.strings('empty')).toEqual([]);
    expect(node.cells('empty')).toEqual([]);
    expect(node.has('empty')).toBe(true);
    expect(node.has('missing')).toBe(false);
  });

  it('refuses values of another type with BAD_VALUE', () => {
    const { root: node } = fdt;
    expect(codeOf(() => node.u32('cells'))).toBe('BAD_VALUE');
    expect(codeOf(() => node.u64('one'))).toBe('BAD_VALUE');
    expect(codeOf(() => node.cells('odd'))).toBe('BAD_VALUE');
    expect(codeOf(() => node.string('compatible'))).toBe('BAD_VALUE');
    expect(codeOf(() => node.string('empty'))).toBe('BAD_VALUE');
    expect(codeOf(() => node.string('not-text'))).toBe('BAD_VALUE');
    expect(codeOf(() => node.string('no-end'))).toBe('BAD_VALUE');
  });

  it('says NOT_FOUND for a missing property, and names the node', () => {
    expect(() => fdt.find('/soc')?.u32('reg')).toThrow("'/soc' has no property 'reg'");
    expect(codeOf(() => fdt.root.bytes('reg'))).toBe('NOT_FOUND');
  });

  it('walks parents before children, in order', () => {
    expect([...fdt.root.walk()].map((node) => node.path)).toEqual([
      '/',
      '/soc',
      '/soc/uart@1000',
      '/soc/uart@2000',
      '/soc/rtc@3000',
    ]);
  });
});

describe('Fdt', () => {
  it('finds nodes by path, without unit address where that is unambiguous', () => {
    expect(fdt.find('/')).toBe(fdt.root);
    expect(fdt.find('/soc/rtc')?.name).toBe('rtc@3000');
    expect(fdt.find('/soc/uart')).toBeUndefined();
    expect(fdt.find('/soc/uart@2000')?.name).toBe('uart@2000');
    expect(fdt.find('/soc/uart@3000')).toBeUndefined();
    expect(fdt.find('/nowhere/uart')).toBeUndefined();
    expect(fdt.find('soc')).toBeUndefined();
  });

  it('finds nodes by phandle and by compatible', () => {
    expect(fdt.byPhandle(3)?.path).toBe('/soc/uart@1000');
    expect(fdt.byPhandle(4)).toBeUndefined();
    expect(fdt.compatible('arm,pl011').map((node) => node.name)).toEqual(['uart@1000', 'uart@2000']);
  });

  it('of an empty tree has a root without anything', () => {
    const empty = readFdt(writeFdt({ name: '' }));
    expect([...empty.root.properties.keys()]).toEqual([]);
    expect(empty.root.children).toEqual([]);
    expect(empty).toMatchObject({ version: 17, bootCpuId: 0, reservations: [] });
  });
});
