import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { codeOf, debianTrees, dtc, runTool, toDts, tree } from '../test/support.ts';
import { readFdt, writeFdt } from './index.ts';
import type { FdtNodeInput } from './index.ts';

describe('the writer makes the bytes that dtc makes', () => {
  it('of any tree, names that share tails included', () => {
    fc.assert(
      fc.property(tree, (root) => {
        expect(writeFdt(root)).toEqual(dtc('dts', 'dtb', toDts(root)));
      }),
      { numRuns: 150 },
    );
  });

  it('with memory reservations', () => {
    const source = '/dts-v1/; /memreserve/ 0x1000 0x2000; /memreserve/ 0xffffffff00000000 0x1; / { a; };';
    const reservations = [
      { address: 0x1000, size: 0x2000 },
      { address: 0xffffffff00000000n, size: 1n },
    ];
    expect(writeFdt({ name: '', properties: { a: true } }, { reservations })).toEqual(
      dtc('dts', 'dtb', source),
    );
  });

  it.each<[string[], Parameters<typeof writeFdt>[1]]>([
    [['-p', '7'], { padding: 7 }],
    [['-S', '301'], { padTo: 301 }],
    [['-a', '16'], { alignTo: 16 }],
    [['-p', '9', '-a', '64'], { padding: 9, alignTo: 64 }],
    [['-R', '3'], { spareReservations: 3 }],
    [['-b', '77'], { bootCpuId: 77 }],
  ])('with dtc %j', (flags, options) => {
    const root = { name: '', properties: { model: 'x', reg: [1, 2] }, children: [{ name: 'a' }] };
    const source = '/dts-v1/; / { model = "x"; reg = <1 2>; a {}; };';
    expect(writeFdt(root, options)).toEqual(dtc('dts', 'dtb', source, ...flags));
  });

  it.each<[string, FdtNodeInput[]]>([
    [
      'a first CPU with one cell',
      [
        { name: 'cpu@5', properties: { reg: 5 } },
        { name: 'cpu@6', properties: { reg: 6 } },
      ],
    ],
    ['a first CPU with two cells', [{ name: 'cpu@5', properties: { reg: [0, 5] } }]],
    [
      'a first CPU whose cell is bytes',
      [{ name: 'cpu@5', properties: { reg: new Uint8Array([0, 0, 1, 5]) } }],
    ],
    ['a first child without reg', [{ name: 'cpu-map' }, { name: 'cpu@5', properties: { reg: 5 } }]],
    ['no CPU', []],
  ])('with the boot CPU that dtc guesses from %s', (_, children) => {
    const blob = writeFdt({ name: '', children: [{ name: 'cpus', children }] });
    const source = new TextDecoder().decode(dtc('dtb', 'dts', blob));
    expect(blob).toEqual(dtc('dts', 'dtb', source));
  });
});

describe('the reader understands what dtc makes', () => {
  it('of any tree: read and written again it is the same', () => {
    fc.assert(
      fc.property(tree, (root) => {
        const blob = dtc('dts', 'dtb', toDts(root));
        const read = readFdt(blob);
        expect(writeFdt(read.root, read)).toEqual(blob);
      }),
      { numRuns: 150 },
    );
  });

  it('in version 16, and refuses versions 1 to 3', () => {
    const source = '/dts-v1/; /memreserve/ 1 2; / { a = "b"; c { d = <1>; }; };';
    const read = readFdt(dtc('dts', 'dtb', source, '-V', '16'));
    expect(read.version).toBe(16);
    expect(writeFdt(read.root, read)).toEqual(dtc('dts', 'dtb', source, '-V', '17'));
    for (const version of ['1', '2', '3']) {
      expect(codeOf(() => readFdt(dtc('dts', 'dtb', source, '-V', version)))).toBe('UNSUPPORTED_VERSION');
    }
  });

  it('with both kinds of phandle property', () => {
    const source = '/dts-v1/; / { a = <&l>; l: b {}; };';
    const read = readFdt(dtc('dts', 'dtb', source, '-H', 'both'));
    expect(read.byPhandle(read.root.u32('a'))?.path).toBe('/b');
    expect(writeFdt(read.root, read)).toEqual(dtc('dts', 'dtb', source, '-H', 'both'));
  });
});

describe('device trees in use', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'fdt-test-'));
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  it.each([
    ['virt', '1'],
    ['virt,gic-version=3,its=on', '4'],
    ['virt,gic-version=2,secure=on,virtualization=on', '2'],
    ['virt,gic-version=3,its=off,highmem=off,acpi=off', '8'],
  ])('of qemu -M %s with %s CPUs: written as dtc writes them, and read back by dtc', (machine, cpus) => {
    const file = join(folder, 'qemu.dtb');
    const options = ['-cpu', 'cortex-a57', '-m', '512', '-nic', 'none', '-nodefaults', '-display', 'none'];
    runTool('qemu-system-aarch64', ['-M', `${machine},dumpdtb=${file}`, '-smp', cpus, ...options]);
    const blob = new Uint8Array(readFileSync(file));
    const read = readFdt(blob);
    expect(read.root.strings('compatible')).toEqual(['linux,dummy-virt']);
    expect(read.find('/cpus')?.children.filter((node) => node.name.startsWith('cpu@'))).toHaveLength(
      Number(cpus),
    );
    expect(read.byPhandle(read.root.u32('interrupt-parent'))?.has('interrupt-controller')).toBe(true);
    const written = writeFdt(read.root, read);
    expect(written).toEqual(dtc('dtb', 'dtb', blob));
    expect(dtc('dts', 'dtb', dtc('dtb', 'dts', written), '-b', String(read.bootCpuId))).toEqual(written);
  });

  it('of boards in Debian: read and written again they are the same', () => {
    const trees = debianTrees();
    const names = readdirSync(trees);
    expect(names.length).toBeGreaterThan(5);
    for (const name of names) {
      const blob = new Uint8Array(readFileSync(join(trees, name)));
      const read = readFdt(blob);
      expect({
        name,
        blob: writeFdt(read.root, { reservations: read.reservations, bootCpuId: read.bootCpuId, alignTo: 8 }),
      }).toEqual({ name, blob });
    }
  });
});
