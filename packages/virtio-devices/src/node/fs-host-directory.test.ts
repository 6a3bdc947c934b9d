import {
  chmodSync,
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { errnoOf, Sharing } from '../../test/fs-sharing.ts';
import { body } from '../../test/fuse-guest.ts';
import * as fuse from '../fs/constants.ts';
import { DRIVER_COMBINATIONS } from '../mock/index.ts';
import { HostDirectory } from './fs-host-directory.ts';
import type { HostDirectoryOptions } from './fs-options.ts';

const ROOT = fuse.FUSE_ROOT_ID;

let sharing: Sharing;
beforeEach(() => {
  sharing = new Sharing();
});
afterEach(() => sharing[Symbol.dispose]());

describe.each(DRIVER_COMBINATIONS)('a host directory over $transport with $ring rings', (how) => {
  it('is read and written', async () => {
    writeFileSync(sharing.at('hello'), 'hello, world');
    const { guest } = await sharing.mount({}, how);
    const hello = await guest.lookup(ROOT, 'hello');
    const fh = await guest.open(hello.id);
    expect(Buffer.from(await guest.read(hello.id, fh, 7, 100)).toString()).toBe('world');
    await guest.release(hello.id, fh);
    const made = await guest.create(ROOT, 'new', fuse.O_WRONLY, 0o640);
    expect(await guest.write(made.id, made.fh, 3, 'abc')).toBe(3);
    expect(readFileSync(sharing.at('new'), 'latin1')).toBe('\0\0\0abc');
    expect(statSync(sharing.at('new')).mode & 0o7777).toBe(0o640);
    expect(await guest.list(ROOT)).toEqual(['.', '..', 'hello', 'new']);
    expect(guest.errors).toEqual([]);
  });
});

describe('names and attributes', () => {
  it('are those of the host, hard links and symbolic links among them', async () => {
    writeFileSync(sharing.at('a'), 'x'.repeat(1000), { mode: 0o600 });
    linkSync(sharing.at('a'), sharing.at('b'));
    symlinkSync('/etc/passwd', sharing.at('link'));
    const { guest } = await sharing.mount();
    const [a, b] = [await guest.lookup(ROOT, 'a'), await guest.lookup(ROOT, 'b')];
    const host = statSync(sharing.at('a'), { bigint: true });
    expect(a).toMatchObject({ size: 1000, nlink: 2, mode: 0o100600, ino: Number(host.ino) });
    expect(BigInt(a.mtime) * 1_000_000_000n + BigInt(a.mtimensec)).toBe(host.mtimeNs);
    expect(b.id).toBe(a.id);
    const link = await guest.lookup(ROOT, 'link');
    expect(link.mode & fuse.S_IFMT).toBe(fuse.S_IFLNK);
    const target = await guest.ok(fuse.FUSE_READLINK, link.id);
    expect(Buffer.from(target.body).toString()).toBe('/etc/passwd');
  });

  it('change on the host as the guest says', async () => {
    const { guest } = await sharing.mount();
    const file = await guest.create(ROOT, 'f');
    await guest.write(file.id, file.fh, 0, '0123456789');
    expect((await guest.setattr(file.id, fuse.FATTR_SIZE, { size: 4 })).size).toBe(4);
    await guest.setattr(file.id, fuse.FATTR_MODE, { mode: 0o751 });
    await guest.setattr(file.id, fuse.FATTR_MTIME, { mtime: -5, mtimensec: 250_000_000 });
    const stats = statSync(sharing.at('f'), { bigint: true });
    expect([stats.size, stats.mode & 0o7777n, stats.mtimeNs]).toEqual([4n, 0o751n, -4_750_000_000n]);
    const before = Date.now();
    await guest.setattr(file.id, fuse.FATTR_MTIME | fuse.FATTR_MTIME_NOW);
    expect(statSync(sharing.at('f')).mtimeMs).toBeGreaterThan(before - 1000);
  });

  it('are made, moved and removed', async () => {
    const { guest } = await sharing.mount();
    const dir = await guest.mkdir(ROOT, 'dir', 0o777);
    expect(statSync(sharing.at('dir')).mode & 0o7777).toBe(0o777);
    const fifo = await guest.mknod(dir.id, 'fifo', fuse.S_IFIFO | 0o666);
    expect(lstatSync(sharing.at('dir/fifo')).isFIFO()).toBe(true);
    await guest.ok(fuse.FUSE_SYMLINK, dir.id, body('sym', '../../secret'));
    expect(readlinkSync(sharing.at('dir/sym'))).toBe('../../secret');
    await guest.ok(fuse.FUSE_LINK, ROOT, body(BigInt(fifo.id), 'hard'));
    expect(lstatSync(sharing.at('hard')).nlink).toBe(2);
    await guest.ok(fuse.FUSE_RENAME2, ROOT, body(BigInt(dir.id), 0, 0, 'hard', 'moved'));
    expect(await guest.list(dir.id, true)).toEqual(['.', '..', 'fifo', 'moved', 'sym']);
    expect(await errnoOf(guest.ok(fuse.FUSE_RMDIR, ROOT, body('dir')))).toBe(fuse.ENOTEMPTY);
    for (const name of ['fifo', 'moved', 'sym']) await guest.ok(fuse.FUSE_UNLINK, dir.id, body(name));
    await guest.ok(fuse.FUSE_RMDIR, ROOT, body('dir'));
    expect(await guest.list(ROOT)).toEqual(['.', '..']);
    expect((await guest.getattr(dir.id)).nlink).toBe(0);
  });

  it('obey RENAME_NOREPLACE and RENAME_EXCHANGE', async () => {
    writeFileSync(sharing.at('a'), 'a');
    writeFileSync(sharing.at('b'), 'b');
    const { guest } = await sharing.mount();
    const [a, b] = [await guest.lookup(ROOT, 'a'), await guest.lookup(ROOT, 'b')];
    const rename = (flags: number) =>
      guest.ok(fuse.FUSE_RENAME2, ROOT, body(BigInt(ROOT), flags, 0, 'a', 'b'));
    expect(await errnoOf(rename(fuse.RENAME_NOREPLACE))).toBe(fuse.EEXIST);
    await rename(fuse.RENAME_EXCHANGE);
    expect([readFileSync(sharing.at('a'), 'utf8'), readFileSync(sharing.at('b'), 'utf8')]).toEqual([
      'b',
      'a',
    ]);
    expect([(await guest.lookup(ROOT, 'a')).id, (await guest.lookup(ROOT, 'b')).id]).toEqual([b.id, a.id]);
    for (const flags of [3, 4, 8]) expect(await errnoOf(rename(flags))).toBe(fuse.EINVAL);
  });
});

describe('reading a directory', () => {
  it('tells every name once, in parts of any size, and goes on from an entry’s offset', async () => {
    const names = Array.from({ length: 300 }, (_, index) => `file-${index}-${'x'.repeat(index % 50)}`);
    for (const name of names) writeFileSync(sharing.at(name), '');
    const { guest } = await sharing.mount();
    const expected = ['.', '..', ...names].sort();
    for (const [plus, size] of [
      [false, 4096],
      [true, 4096],
      [false, 400],
      [true, 65536],
    ] as const) {
      expect(await guest.list(ROOT, plus, size)).toEqual(expected);
    }
    const fh = await guest.opendir(ROOT);
    const all = await guest.readdir(ROOT, fh, 0n, false, 65536);
    const half = all[100]!;
    const rest = await guest.readdir(ROOT, fh, half.offset, false, 65536);
    expect(rest.map(({ name }) => name)).toEqual(all.slice(101).map(({ name }) => name));
    expect(await guest.readdir(ROOT, fh, 0n, false, 16)).toEqual([]);
  });

  it('counts lookups that READDIRPLUS made, and no others', async () => {
    writeFileSync(sharing.at('a'), '');
    const { guest, share } = await sharing.mount();
    const fh = await guest.opendir(ROOT);
    const listed = await guest.readdir(ROOT, fh, 0n, true);
    const a = listed.find(({ name }) => name === 'a')!;
    expect(listed.filter(({ name }) => name.startsWith('.')).map(({ id }) => id)).toEqual([0, 0]);
    expect(share.statistics.nodes).toBe(2);
    await guest.forget(a.id, 1);
    expect(share.statistics.nodes).toBe(1);
    expect(await errnoOf(guest.getattr(a.id))).toBe(fuse.ESTALE);
  });
});

describe('limits', () => {
  it('close handles that are not used, and open them again', async () => {
    for (let i = 0; i < 200; i++) writeFileSync(sharing.at(`f${i}`), String(i));
    mkdirSync(sharing.at('d/e'), { recursive: true });
    writeFileSync(sharing.at('d/e/deep'), 'deep');
    const before = readdirSync('/proc/self/fd').length;
    const { guest, share } = await sharing.mount({ maxHandles: 16 });
    const deep = await guest.walk('d/e/deep');
    const ids: number[] = [];
    for (let i = 0; i < 200; i++) ids.push((await guest.lookup(ROOT, `f${i}`)).id);
    expect(share.statistics.handles).toBeLessThanOrEqual(16);
    expect(share.statistics.evictions).toBeGreaterThan(150);
    for (const [index, id] of ids.entries()) {
      const fh = await guest.open(id);
      expect(Buffer.from(await guest.read(id, fh, 0, 10)).toString()).toBe(String(index));
      await guest.release(id, fh);
    }
    expect((await guest.getattr(deep.id)).size).toBe(4);
    share.close();
    expect(readdirSync('/proc/self/fd')).toHaveLength(before);
  });

  it('keep a file that has lost its name, whatever else is looked up', async () => {
    for (let i = 0; i < 100; i++) writeFileSync(sharing.at(`f${i}`), '');
    const { guest } = await sharing.mount({ maxHandles: 16 });
    const file = await guest.create(ROOT, 'gone');
    await guest.write(file.id, file.fh, 0, 'still here');
    for (let i = 0; i < 50; i++) await guest.lookup(ROOT, `f${i}`);
    await guest.ok(fuse.FUSE_UNLINK, ROOT, body('gone'));
    for (let i = 50; i < 100; i++) await guest.lookup(ROOT, `f${i}`);
    expect(await guest.getattr(file.id)).toMatchObject({ nlink: 0, size: 10 });
    expect(await guest.open(file.id)).toBeGreaterThan(0);
  });

  it('take another file by the same name for another file', async () => {
    const { guest } = await sharing.mount({ maxHandles: 16 });
    const old = await guest.create(ROOT, 'file');
    await guest.release(old.id, old.fh);
    for (let i = 0; i < 50; i++)
      await guest.create(ROOT, `f${i}`).then(({ id, fh }) => guest.release(id, fh));
    rmSync(sharing.at('file'));
    writeFileSync(sharing.at('file'), 'new');
    expect(await errnoOf(guest.getattr(old.id))).toBe(fuse.ESTALE);
    const found = await guest.lookup(ROOT, 'file');
    expect(found.id).not.toBe(old.id);
    expect(found.size).toBe(3);
  });

  it('of open files and known files are told as such', async () => {
    const { guest } = await sharing.mount({ maxOpenFiles: 2, maxNodes: 16 });
    const first = await guest.create(ROOT, 'a');
    await guest.opendir(ROOT);
    expect(await errnoOf(guest.create(ROOT, 'b'))).toBe(fuse.EMFILE);
    expect(await errnoOf(guest.open(first.id))).toBe(fuse.EMFILE);
    await guest.release(first.id, first.fh);
    for (let i = 0; i < 14; i++) await guest.mkdir(ROOT, `d${i}`);
    expect(await errnoOf(guest.mkdir(ROOT, 'more'))).toBe(fuse.ENFILE);
    await guest.forget(first.id);
    await guest.lookup(ROOT, 'more');
  });

  it('handles of other files, closed ones and unknown nodes are errors', async () => {
    const { guest } = await sharing.mount();
    const a = await guest.create(ROOT, 'a');
    const b = await guest.create(ROOT, 'b');
    const dir = await guest.opendir(ROOT);
    expect(await errnoOf(guest.read(a.id, b.fh, 0, 1))).toBe(fuse.EBADF);
    expect(await errnoOf(guest.read(ROOT, dir, 0, 1))).toBe(fuse.EBADF);
    expect(await errnoOf(guest.readdir(a.id, a.fh))).toBe(fuse.EBADF);
    await guest.release(a.id, a.fh);
    expect(await errnoOf(guest.release(a.id, a.fh))).toBe(fuse.EBADF);
    expect(await errnoOf(guest.write(a.id, a.fh, 0, 'x'))).toBe(fuse.EBADF);
    for (const node of [0, 99, 2 ** 40]) {
      expect(await errnoOf(guest.lookup(node, 'a'))).toBe(fuse.ESTALE);
      expect(await errnoOf(guest.getattr(node))).toBe(fuse.ESTALE);
      expect(await errnoOf(guest.open(node))).toBe(fuse.ESTALE);
    }
    await guest.forget(ROOT, 2 ** 40);
    await guest.forget(12345, 1);
    expect((await guest.getattr(ROOT)).mode & fuse.S_IFMT).toBe(fuse.S_IFDIR);
  });
});

describe('a reset of the device', () => {
  it('closes and forgets everything', async () => {
    const { guest, share } = await sharing.mount();
    const before = readdirSync('/proc/self/fd').length;
    for (let i = 0; i < 10; i++) await guest.create(ROOT, `f${i}`);
    await guest.opendir(ROOT);
    guest.driver.start();
    expect(share.statistics).toMatchObject({ nodes: 1, handles: 0, openFiles: 0 });
    expect(readdirSync('/proc/self/fd')).toHaveLength(before);
  });
});

describe('a saved share', () => {
  it('is found again by names: files, directories and what is open of them', async () => {
    mkdirSync(sharing.at('d/e'), { recursive: true });
    writeFileSync(sharing.at('d/e/file'), '0123456789');
    const { guest, share } = await sharing.mount();
    const file = await guest.walk('d/e/file');
    const fh = await guest.open(file.id, fuse.O_RDWR);
    const gone = await guest.create(ROOT, 'gone');
    await guest.ok(fuse.FUSE_UNLINK, ROOT, body('gone'));
    const dir = await guest.opendir(ROOT);
    const device = structuredClone(guest.device.save());
    share.close();
    const { guest: restored } = await sharing.mount();
    restored.device.restore(device);
    expect(Buffer.from(await restored.read(file.id, fh, 5, 5)).toString()).toBe('56789');
    expect(await restored.write(file.id, fh, 0, 'new')).toBe(3);
    expect((await restored.readdir(ROOT, dir)).map(({ name }) => name).sort()).toEqual(['.', '..', 'd']);
    expect((await restored.walk('d/e/file')).id).toBe(file.id);
    expect(await errnoOf(restored.getattr(gone.id))).toBe(fuse.ESTALE);
    expect(await errnoOf(restored.read(gone.id, gone.fh, 0, 1))).toBe(fuse.EBADF);
    const fresh = await restored.create(ROOT, 'fresh');
    expect(fresh.id).toBeGreaterThan(gone.id);
    expect(fresh.fh).toBeGreaterThan(dir);
  });

  it('is refused when it is damaged, and nothing changes', async () => {
    mkdirSync(sharing.at('d'));
    const { guest, share } = await sharing.mount();
    const d = await guest.lookup(ROOT, 'd');
    await guest.opendir(d.id);
    const state = share.save();
    const [node, file] = [state.nodes[0]!, state.files[0]!];
    const damages: unknown[] = [
      undefined,
      { ...state, version: 2 },
      { ...state, nextId: 1 },
      { ...state, nodes: [{ ...node, name: '..' }] },
      { ...state, nodes: [{ ...node, name: 'a/b' }] },
      { ...state, nodes: [{ ...node, name: '' }] },
      { ...state, nodes: [{ ...node, parent: 77 }] },
      { ...state, nodes: [{ ...node, parent: node.id }] },
      { ...state, nodes: [{ ...node, id: 1 }] },
      { ...state, nodes: [node, node] },
      { ...state, files: [{ ...file, node: 99 }] },
      { ...state, files: [file, file] },
      { ...state, files: [{ ...file, fh: state.nextFh }] },
    ];
    for (const damaged of damages) {
      expect(() => share.restore(damaged)).toThrow(
        expect.objectContaining({ code: 'INVALID_STATE' }) as Error,
      );
    }
    expect((await guest.getattr(d.id)).mode & fuse.S_IFMT).toBe(fuse.S_IFDIR);
  });
});

describe('options', () => {
  it.each<[string, HostDirectoryOptions]>([
    ['an unknown cache', { cache: 'sometimes' as 'none' }],
    ['too few nodes', { maxNodes: 1 }],
    [
      'ranges that overlap',
      { ids: { uids: [0, 5].map((guest) => ({ guest, host: 10 * guest, count: 6 })), gids: [] } },
    ],
    ['a range beyond the last id', { ids: { uids: [{ guest: 0, host: 2 ** 32 - 2, count: 2 }], gids: [] } }],
  ])('refuse %s', (_what, options) => {
    expect(() => new HostDirectory(sharing.root, options)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }) as Error,
    );
  });

  it('tell what is wrong with the directory', () => {
    writeFileSync(sharing.at('file'), '');
    expect(() => new HostDirectory(sharing.at('nowhere'))).toThrow(/does not exist/);
    expect(() => new HostDirectory(sharing.at('file'))).toThrow(/no directory/);
  });

  it('leave access times alone with noatime, and let the guest keep things with cache: always', async () => {
    writeFileSync(sharing.at('file'), 'x');
    closeSync(openSync(sharing.at('file'), 'r'));
    chmodSync(sharing.at('file'), 0o644);
    const { guest } = await sharing.mount({ noatime: true, cache: 'always' });
    const before = lstatSync(sharing.at('file')).atimeMs;
    const { id } = await guest.lookup(ROOT, 'file');
    const { view } = await guest.ok(fuse.FUSE_OPEN, id, body(0, 0));
    expect(view.getUint32(8, true)).toBe(fuse.FOPEN_KEEP_CACHE);
    await guest.read(id, Number(view.getBigUint64(0, true)), 0, 1);
    expect(lstatSync(sharing.at('file')).atimeMs).toBe(before);
    const lookup = await guest.ok(fuse.FUSE_LOOKUP, ROOT, body('file'));
    expect(lookup.view.getBigUint64(16, true)).toBe(86400n);
  });
});
