import {
  chmodSync,
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { body, FuseGuest } from '../../test/fuse-guest.ts';
import * as fuse from '../fs/constants.ts';
import { DRIVER_COMBINATIONS, type CreateDriverOptions } from '../mock/index.ts';
import { HostDirectory } from './fs-host-directory.ts';
import type { HostDirectoryOptions } from './fs-options.ts';
import { requireHost } from './load.ts';
import { FS_STAT } from './native-fs.ts';

const ROOT = fuse.FUSE_ROOT_ID;
const IS_ROOT = process.getuid?.() === 0;

let scratch: string;
let root: string;
const shares: HostDirectory[] = [];

beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'vmm-fs-'));
  root = join(scratch, 'share');
  mkdirSync(root);
  writeFileSync(join(scratch, 'secret'), 'secret');
});

afterEach(() => {
  for (const share of shares.splice(0)) share.close();
  rmSync(scratch, { recursive: true, force: true });
});

function at(...path: string[]): string {
  return join(root, ...path);
}

async function mount(
  options: HostDirectoryOptions = {},
  how: CreateDriverOptions = {},
): Promise<{ guest: FuseGuest; share: HostDirectory }> {
  const share = new HostDirectory(root, options);
  shares.push(share);
  const guest = new FuseGuest(share, how);
  await guest.init();
  return { guest, share };
}

/** What a promise is rejected with. */
async function errnoOf(promise: Promise<unknown>): Promise<number> {
  try {
    await promise;
    return 0;
  } catch (error) {
    return (error as { errno: number }).errno;
  }
}

describe.each(DRIVER_COMBINATIONS)('a host directory over $transport with $ring rings', (how) => {
  it('is read and written', async () => {
    writeFileSync(at('hello'), 'hello, world');
    const { guest } = await mount({}, how);
    const hello = await guest.lookup(ROOT, 'hello');
    const fh = await guest.open(hello.id);
    expect(Buffer.from(await guest.read(hello.id, fh, 7, 100)).toString()).toBe('world');
    await guest.release(hello.id, fh);
    const made = await guest.create(ROOT, 'new', fuse.O_WRONLY, 0o640);
    expect(await guest.write(made.id, made.fh, 3, 'abc')).toBe(3);
    expect(readFileSync(at('new'), 'latin1')).toBe('\0\0\0abc');
    expect(statSync(at('new')).mode & 0o7777).toBe(0o640);
    expect(await guest.list(ROOT)).toEqual(['.', '..', 'hello', 'new']);
    expect(guest.errors).toEqual([]);
  });
});

describe('names and attributes', () => {
  it('are those of the host, hard links and symbolic links among them', async () => {
    writeFileSync(at('a'), 'x'.repeat(1000), { mode: 0o600 });
    linkSync(at('a'), at('b'));
    symlinkSync('/etc/passwd', at('link'));
    const { guest } = await mount();
    const [a, b] = [await guest.lookup(ROOT, 'a'), await guest.lookup(ROOT, 'b')];
    const host = statSync(at('a'), { bigint: true });
    expect(a).toMatchObject({ size: 1000, nlink: 2, mode: 0o100600, ino: Number(host.ino) });
    expect(BigInt(a.mtime) * 1_000_000_000n + BigInt(a.mtimensec)).toBe(host.mtimeNs);
    expect(b.id).toBe(a.id);
    const link = await guest.lookup(ROOT, 'link');
    expect(link.mode & fuse.S_IFMT).toBe(fuse.S_IFLNK);
    const target = await guest.ok(fuse.FUSE_READLINK, link.id);
    expect(Buffer.from(target.body).toString()).toBe('/etc/passwd');
  });

  it('change on the host as the guest says', async () => {
    const { guest } = await mount();
    const file = await guest.create(ROOT, 'f');
    await guest.write(file.id, file.fh, 0, '0123456789');
    expect((await guest.setattr(file.id, fuse.FATTR_SIZE, { size: 4 })).size).toBe(4);
    await guest.setattr(file.id, fuse.FATTR_MODE, { mode: 0o751 });
    await guest.setattr(file.id, fuse.FATTR_MTIME, { mtime: -5, mtimensec: 250_000_000 });
    const stats = statSync(at('f'), { bigint: true });
    expect([stats.size, stats.mode & 0o7777n, stats.mtimeNs]).toEqual([4n, 0o751n, -4_750_000_000n]);
    const before = Date.now();
    await guest.setattr(file.id, fuse.FATTR_MTIME | fuse.FATTR_MTIME_NOW);
    expect(statSync(at('f')).mtimeMs).toBeGreaterThan(before - 1000);
  });

  it('are made, moved and removed', async () => {
    const { guest } = await mount();
    const dir = await guest.mkdir(ROOT, 'dir', 0o777);
    expect(statSync(at('dir')).mode & 0o7777).toBe(0o777);
    const fifo = await guest.mknod(dir.id, 'fifo', fuse.S_IFIFO | 0o666);
    expect(lstatSync(at('dir/fifo')).isFIFO()).toBe(true);
    await guest.ok(fuse.FUSE_SYMLINK, dir.id, body('sym', '../../secret'));
    expect(readlinkSync(at('dir/sym'))).toBe('../../secret');
    await guest.ok(fuse.FUSE_LINK, ROOT, body(BigInt(fifo.id), 'hard'));
    expect(lstatSync(at('hard')).nlink).toBe(2);
    await guest.ok(fuse.FUSE_RENAME2, ROOT, body(BigInt(dir.id), 0, 0, 'hard', 'moved'));
    expect(await guest.list(dir.id, true)).toEqual(['.', '..', 'fifo', 'moved', 'sym']);
    expect(await errnoOf(guest.ok(fuse.FUSE_RMDIR, ROOT, body('dir')))).toBe(fuse.ENOTEMPTY);
    for (const name of ['fifo', 'moved', 'sym']) await guest.ok(fuse.FUSE_UNLINK, dir.id, body(name));
    await guest.ok(fuse.FUSE_RMDIR, ROOT, body('dir'));
    expect(await guest.list(ROOT)).toEqual(['.', '..']);
    expect((await guest.getattr(dir.id)).nlink).toBe(0);
  });

  it('obey RENAME_NOREPLACE and RENAME_EXCHANGE', async () => {
    writeFileSync(at('a'), 'a');
    writeFileSync(at('b'), 'b');
    const { guest } = await mount();
    const [a, b] = [await guest.lookup(ROOT, 'a'), await guest.lookup(ROOT, 'b')];
    const rename = (flags: number) =>
      guest.ok(fuse.FUSE_RENAME2, ROOT, body(BigInt(ROOT), flags, 0, 'a', 'b'));
    expect(await errnoOf(rename(fuse.RENAME_NOREPLACE))).toBe(fuse.EEXIST);
    await rename(fuse.RENAME_EXCHANGE);
    expect([readFileSync(at('a'), 'utf8'), readFileSync(at('b'), 'utf8')]).toEqual(['b', 'a']);
    expect([(await guest.lookup(ROOT, 'a')).id, (await guest.lookup(ROOT, 'b')).id]).toEqual([b.id, a.id]);
    for (const flags of [3, 4, 8]) expect(await errnoOf(rename(flags))).toBe(fuse.EINVAL);
  });
});

describe('reading a directory', () => {
  it('tells every name once, in parts of any size, and goes on from an entry’s offset', async () => {
    const names = Array.from({ length: 300 }, (_, index) => `file-${index}-${'x'.repeat(index % 50)}`);
    for (const name of names) writeFileSync(at(name), '');
    const { guest } = await mount();
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
    writeFileSync(at('a'), '');
    const { guest, share } = await mount();
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

describe('what is outside of the directory', () => {
  it('is not reached through symbolic links, which are never followed', async () => {
    symlinkSync(scratch, at('up'));
    symlinkSync('../secret', at('file'));
    symlinkSync('/proc/self/root', at('magic'));
    const { guest } = await mount();
    for (const name of ['up', 'file', 'magic']) {
      const link = await guest.lookup(ROOT, name);
      expect(link.mode & fuse.S_IFMT).toBe(fuse.S_IFLNK);
      expect(await errnoOf(guest.lookup(link.id, 'secret'))).toBe(fuse.ENOTDIR);
      expect(await errnoOf(guest.open(link.id))).toBe(fuse.ELOOP);
      expect(await errnoOf(guest.opendir(link.id))).not.toBe(0);
      expect(await errnoOf(guest.create(link.id, 'new'))).toBe(fuse.ENOTDIR);
      expect(await errnoOf(guest.setattr(link.id, fuse.FATTR_SIZE))).toBe(fuse.ELOOP);
      expect(await errnoOf(guest.setattr(link.id, fuse.FATTR_MODE, { mode: 0o777 }))).toBe(fuse.EOPNOTSUPP);
    }
    expect(await errnoOf(guest.create(ROOT, 'file', fuse.O_WRONLY | fuse.O_TRUNC))).toBe(fuse.ELOOP);
    const link = await guest.lookup(ROOT, 'file');
    await guest.setattr(link.id, fuse.FATTR_MTIME, { mtime: 1 });
    await guest.ok(fuse.FUSE_LINK, ROOT, body(BigInt(link.id), 'hard'));
    expect(readlinkSync(at('hard'))).toBe('../secret');
    expect(statSync(join(scratch, 'secret'))).toMatchObject({ nlink: 1, size: 6 });
    expect(statSync(join(scratch, 'secret')).mtimeMs).toBeGreaterThan(1000);
  });

  it('is not reached by names', async () => {
    mkdirSync(at('d'));
    const { guest } = await mount();
    const d = await guest.lookup(ROOT, 'd');
    for (const name of ['..', '.', '../secret', 'd/../../secret', '/etc/passwd', '\0']) {
      expect(await errnoOf(guest.lookup(d.id, name))).toBeGreaterThan(0);
      expect(await errnoOf(guest.create(d.id, name))).toBeGreaterThan(0);
      expect(await errnoOf(guest.mkdir(d.id, name))).toBeGreaterThan(0);
      expect(await errnoOf(guest.ok(fuse.FUSE_UNLINK, d.id, body(name)))).toBeGreaterThan(0);
      const rename = body(BigInt(ROOT), 0, 0, 'd', name);
      expect(await errnoOf(guest.ok(fuse.FUSE_RENAME2, ROOT, rename))).toBeGreaterThan(0);
    }
    expect(readdirSync(scratch).sort()).toEqual(['secret', 'share']);
  });

  it('is not reached when a symbolic link takes the place of a directory that the guest knows', async () => {
    mkdirSync(at('d'));
    writeFileSync(at('d/secret'), 'inside');
    const { guest } = await mount({ maxHandles: 16 });
    const d = await guest.lookup(ROOT, 'd');
    const secret = await guest.lookup(d.id, 'secret');
    renameSync(at('d'), at('moved'));
    symlinkSync(scratch, at('d'));
    // The handle is that of the directory, wherever it is now.
    const fh = await guest.open(secret.id);
    expect(Buffer.from(await guest.read(secret.id, fh, 0, 10)).toString()).toBe('inside');
    // Without handles the way by name leads nowhere.
    for (let i = 0; i < 100; i++)
      await guest.create(ROOT, `f${i}`).then(({ id, fh: f }) => guest.release(id, f));
    expect(await errnoOf(guest.open(secret.id))).toBe(fuse.ESTALE);
    expect((await guest.lookup(ROOT, 'd')).mode & fuse.S_IFMT).toBe(fuse.S_IFLNK);
    const moved = await guest.walk('moved/secret');
    expect(moved.id).toBe(secret.id);
    expect(await guest.open(secret.id)).toBeGreaterThan(0);
  });

  it('is not what something is mounted on in the directory, with and without openat2', () => {
    const { fs } = requireHost('the test');
    const stat = new Uint32Array(FS_STAT.length);
    const handle = fs.openRoot('/');
    symlinkSync('/etc', at('link'));
    const here = fs.openRoot(root);
    try {
      for (const openat2 of fs.hasOpenat2(handle) === 1 ? [1, 0] : [0]) {
        expect(fs.lookup(handle, 'proc', openat2, stat)).toBe(-fuse.EXDEV);
        const link = fs.lookup(here, 'link', openat2, stat);
        expect(stat[FS_STAT.mode]! & fuse.S_IFMT).toBe(fuse.S_IFLNK);
        expect(fs.lookup(link, 'passwd', openat2, stat)).toBe(-fuse.ENOTDIR);
        fs.close(link);
      }
    } finally {
      fs.close(handle);
      fs.close(here);
    }
  });

  it('stays as it is whatever a guest sends', async () => {
    const opcodes = Array.from({ length: 52 }, (_, opcode) => opcode).filter(
      (opcode) =>
        ![fuse.FUSE_FORGET, fuse.FUSE_INTERRUPT, fuse.FUSE_BATCH_FORGET, fuse.FUSE_SYNCFS].includes(opcode),
    );
    const name = fc.constantFrom('a', 'b', 'd', 'link', 'up', '..', '../secret', 'x'.repeat(255), 'user.a');
    const request = fc.record({
      opcode: fc.constantFrom(...opcodes),
      node: fc.oneof(fc.nat(6), fc.nat()),
      words: fc.array(fc.oneof(fc.constantFrom(0, 1, 2, 3, 0o100644, 0o40755, 0xffff_ffff), fc.nat()), {
        maxLength: 24,
      }),
      names: fc.array(name, { maxLength: 2 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 30 }), async (requests) => {
        rmSync(root, { recursive: true, force: true });
        mkdirSync(at('d'), { recursive: true });
        writeFileSync(at('a'), 'a');
        symlinkSync('../secret', at('link'));
        symlinkSync('..', at('up'));
        const { guest, share } = await mount({ maxOpenFiles: 8, maxNodes: 16 });
        for (const known of ['a', 'd', 'link', 'up']) await guest.lookup(ROOT, known);
        for (const { opcode, node, words, names } of requests) {
          await guest.request(opcode, node, body(...words, ...names));
        }
        expect(guest.errors).toEqual([]);
        share.close();
        expect(readdirSync(scratch).sort()).toEqual(['secret', 'share']);
        const secret = statSync(join(scratch, 'secret'));
        expect([secret.size, secret.nlink, secret.mode]).toEqual([6, 1, fuse.S_IFREG | 0o644]);
      }),
      { numRuns: 60, endOnFailure: true },
    );
  });
});

describe('files that are none', () => {
  it('are not opened: FIFOs, sockets and devices neither wait nor have effects', async () => {
    const { guest } = await mount();
    const fifo = await guest.mknod(ROOT, 'fifo', fuse.S_IFIFO | 0o666);
    const socket = await guest.mknod(ROOT, 'socket', fuse.S_IFSOCK | 0o666);
    for (const { id } of [fifo, socket]) {
      expect(await errnoOf(guest.open(id))).toBe(fuse.ENXIO);
      expect(await errnoOf(guest.setattr(id, fuse.FATTR_SIZE))).toBe(fuse.ENXIO);
    }
    expect(await errnoOf(guest.create(ROOT, 'fifo', fuse.O_WRONLY))).toBe(fuse.ENXIO);
    expect(await errnoOf(guest.create(ROOT, 'fifo', fuse.O_WRONLY | fuse.O_EXCL))).toBe(fuse.EEXIST);
  });

  it('devices and set-user-ID programs are made only where the host wants them', async () => {
    const { guest } = await mount();
    expect(await errnoOf(guest.mknod(ROOT, 'null', fuse.S_IFCHR | 0o666, 0x103))).toBe(fuse.EPERM);
    expect(await errnoOf(guest.mknod(ROOT, 'dir', fuse.S_IFDIR | 0o666))).toBe(fuse.EINVAL);
    expect(await errnoOf(guest.mknod(ROOT, 'suid', fuse.S_IFREG | 0o4755))).toBe(fuse.EPERM);
    expect(await errnoOf(guest.create(ROOT, 'sgid', fuse.O_RDWR, 0o2755))).toBe(fuse.EPERM);
    const file = await guest.create(ROOT, 'file');
    expect(await errnoOf(guest.setattr(file.id, fuse.FATTR_MODE, { mode: 0o6755 }))).toBe(fuse.EPERM);
    const dir = await guest.mkdir(ROOT, 'sgid', 0o2775);
    expect(dir.mode).toBe(fuse.S_IFDIR | 0o2775);
    const { guest: trusted } = await mount({ setuid: true });
    const entry = await trusted.lookup(ROOT, 'file');
    expect((await trusted.setattr(entry.id, fuse.FATTR_MODE, { mode: 0o4755 })).mode & 0o7777).toBe(0o4755);
    // A writer without the privilege takes the bit away; others that are there stay.
    expect((await guest.setattr(file.id, fuse.FATTR_MODE, { mode: 0o4700 })).mode & 0o7777).toBe(0o4700);
    await guest.write(file.id, file.fh, 0, 'x', fuse.FUSE_WRITE_KILL_SUIDGID);
    expect(statSync(at('file')).mode & 0o7777).toBe(0o700);
  });
});

describe('a read-only share', () => {
  it('refuses every change and changes nothing', async () => {
    writeFileSync(at('file'), 'content', { mode: 0o600 });
    mkdirSync(at('dir'));
    const { guest } = await mount({ readOnly: true });
    const { id } = await guest.lookup(ROOT, 'file');
    const changes = [
      () => guest.create(ROOT, 'new'),
      () => guest.mkdir(ROOT, 'new'),
      () => guest.mknod(ROOT, 'new', fuse.S_IFREG | 0o644),
      () => guest.ok(fuse.FUSE_SYMLINK, ROOT, body('new', 'x')),
      () => guest.ok(fuse.FUSE_LINK, ROOT, body(BigInt(id), 'new')),
      () => guest.ok(fuse.FUSE_UNLINK, ROOT, body('file')),
      () => guest.ok(fuse.FUSE_RMDIR, ROOT, body('dir')),
      () => guest.ok(fuse.FUSE_RENAME2, ROOT, body(BigInt(ROOT), 0, 0, 'file', 'new')),
      () => guest.ok(fuse.FUSE_SETXATTR, id, body(1, 0, 'user.a', 'v')),
      () => guest.ok(fuse.FUSE_REMOVEXATTR, id, body('user.a')),
      () => guest.setattr(id, fuse.FATTR_MODE, { mode: 0o777 }),
      () => guest.setattr(id, fuse.FATTR_SIZE),
      () => guest.open(id, fuse.O_WRONLY),
      () => guest.open(id, fuse.O_RDWR),
      () => guest.open(id, fuse.O_TRUNC),
    ];
    for (const change of changes) expect(await errnoOf(change())).toBe(fuse.EROFS);
    const fh = await guest.open(id);
    expect(await errnoOf(guest.write(id, fh, 0, 'x'))).toBe(fuse.EBADF);
    const fallocate = body(BigInt(fh), 0n, 4096n, 0, 0);
    expect(await errnoOf(guest.ok(fuse.FUSE_FALLOCATE, id, fallocate))).toBe(fuse.EBADF);
    expect(Buffer.from(await guest.read(id, fh, 0, 100)).toString()).toBe('content');
    expect(statSync(at('file')).mode & 0o7777).toBe(0o600);
    expect(readdirSync(root).sort()).toEqual(['dir', 'file']);
  });
});

describe('owners', () => {
  const asRoot = IS_ROOT ? it : it.skip;

  asRoot('are the guest’s, or inherited from a directory with S_ISGID', async () => {
    const { guest } = await mount();
    const who = { uid: 1000, gid: 2000 };
    const file = await guest.create(ROOT, 'file', fuse.O_RDWR, 0o666, who);
    expect([file.uid, file.gid]).toEqual([1000, 2000]);
    const dir = await guest.mkdir(ROOT, 'dir', 0o2777, who);
    const inside = await guest.mkdir(dir.id, 'inside', 0o700, { uid: 5, gid: 6 });
    expect([inside.uid, inside.gid, inside.mode & 0o7777]).toEqual([5, 2000, 0o2700]);
    await guest.setattr(file.id, fuse.FATTR_UID, { uid: 7 });
    expect(statSync(at('file'))).toMatchObject({ uid: 7, gid: 2000, mode: fuse.S_IFREG | 0o666 });
  });

  asRoot('are moved into ranges of the host, and nobody is anybody outside of them', async () => {
    writeFileSync(at('stranger'), '');
    const range = [{ guest: 0, host: 100_000, count: 1000 }];
    const { guest } = await mount({ ids: { uids: range, gids: range } });
    expect(await guest.lookup(ROOT, 'stranger')).toMatchObject({ uid: 65534, gid: 65534 });
    const file = await guest.create(ROOT, 'file', fuse.O_RDWR, 0o644, { uid: 3, gid: 4 });
    expect([file.uid, file.gid]).toEqual([3, 4]);
    expect(statSync(at('file'))).toMatchObject({ uid: 100_003, gid: 100_004 });
    const outside = { uid: 1000, gid: 0 };
    expect(await errnoOf(guest.create(ROOT, 'no', fuse.O_RDWR, 0o644, outside))).toBe(fuse.EOVERFLOW);
    expect(await errnoOf(guest.setattr(file.id, fuse.FATTR_UID, { uid: 5000 }))).toBe(fuse.EOVERFLOW);
    expect(readdirSync(root).sort()).toEqual(['file', 'stranger']);
  });

  it('are squashed to this user, whom the guest takes for root', async () => {
    const { guest } = await mount({ ids: 'squash' });
    const file = await guest.create(ROOT, 'file', fuse.O_RDWR, 0o644, { uid: 1234, gid: 5678 });
    expect([file.uid, file.gid]).toEqual([0, 0]);
    expect(statSync(at('file')).uid).toBe(process.getuid?.());
    await guest.setattr(file.id, fuse.FATTR_UID | fuse.FATTR_GID);
    expect(await errnoOf(guest.setattr(file.id, fuse.FATTR_UID, { uid: 1 }))).toBe(fuse.EPERM);
  });
});

describe('extended attributes', () => {
  it('of users are set, told and removed; others are not there', async () => {
    const { guest } = await mount();
    const { id } = await guest.create(ROOT, 'file');
    const set = (name: string): Promise<unknown> =>
      guest.ok(fuse.FUSE_SETXATTR, id, body(3, 0, name, Buffer.from('abc')));
    await set('user.a');
    const get = await guest.ok(fuse.FUSE_GETXATTR, id, body(100, 0, 'user.a'));
    expect(Buffer.from(get.body).toString()).toBe('abc');
    const list = await guest.ok(fuse.FUSE_LISTXATTR, id, body(100, 0));
    expect(Buffer.from(list.body).toString()).toBe('user.a\0');
    for (const name of ['security.capability', 'trusted.a', 'system.posix_acl_access', 'other']) {
      expect(await errnoOf(set(name))).toBe(fuse.EOPNOTSUPP);
      expect(await errnoOf(guest.ok(fuse.FUSE_GETXATTR, id, body(100, 0, name)))).toBe(fuse.EOPNOTSUPP);
    }
    await guest.ok(fuse.FUSE_REMOVEXATTR, id, body('user.a'));
    expect(await errnoOf(guest.ok(fuse.FUSE_GETXATTR, id, body(100, 0, 'user.a')))).toBe(fuse.ENODATA);
    const { guest: none } = await mount({ xattrs: 'none' });
    const file = await none.lookup(ROOT, 'file');
    expect(await errnoOf(none.ok(fuse.FUSE_LISTXATTR, file.id, body(0, 0)))).toBe(fuse.ENOSYS);
  });
});

describe('limits', () => {
  it('close handles that are not used, and open them again', async () => {
    for (let i = 0; i < 200; i++) writeFileSync(at(`f${i}`), String(i));
    mkdirSync(at('d/e'), { recursive: true });
    writeFileSync(at('d/e/deep'), 'deep');
    const before = readdirSync('/proc/self/fd').length;
    const { guest, share } = await mount({ maxHandles: 16 });
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
    for (let i = 0; i < 100; i++) writeFileSync(at(`f${i}`), '');
    const { guest } = await mount({ maxHandles: 16 });
    const file = await guest.create(ROOT, 'gone');
    await guest.write(file.id, file.fh, 0, 'still here');
    for (let i = 0; i < 50; i++) await guest.lookup(ROOT, `f${i}`);
    await guest.ok(fuse.FUSE_UNLINK, ROOT, body('gone'));
    for (let i = 50; i < 100; i++) await guest.lookup(ROOT, `f${i}`);
    expect(await guest.getattr(file.id)).toMatchObject({ nlink: 0, size: 10 });
    expect(await guest.open(file.id)).toBeGreaterThan(0);
  });

  it('take another file by the same name for another file', async () => {
    const { guest } = await mount({ maxHandles: 16 });
    const old = await guest.create(ROOT, 'file');
    await guest.release(old.id, old.fh);
    for (let i = 0; i < 50; i++)
      await guest.create(ROOT, `f${i}`).then(({ id, fh }) => guest.release(id, fh));
    rmSync(at('file'));
    writeFileSync(at('file'), 'new');
    expect(await errnoOf(guest.getattr(old.id))).toBe(fuse.ESTALE);
    const found = await guest.lookup(ROOT, 'file');
    expect(found.id).not.toBe(old.id);
    expect(found.size).toBe(3);
  });

  it('of open files and known files are told as such', async () => {
    const { guest } = await mount({ maxOpenFiles: 2, maxNodes: 16 });
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
    const { guest } = await mount();
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
    const { guest, share } = await mount();
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
    mkdirSync(at('d/e'), { recursive: true });
    writeFileSync(at('d/e/file'), '0123456789');
    const { guest, share } = await mount();
    const file = await guest.walk('d/e/file');
    const fh = await guest.open(file.id, fuse.O_RDWR);
    const gone = await guest.create(ROOT, 'gone');
    await guest.ok(fuse.FUSE_UNLINK, ROOT, body('gone'));
    const dir = await guest.opendir(ROOT);
    const device = structuredClone(guest.device.save());
    share.close();
    const { guest: restored } = await mount();
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
    mkdirSync(at('d'));
    const { guest, share } = await mount();
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
    expect(() => new HostDirectory(root, options)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }) as Error,
    );
  });

  it('tell what is wrong with the directory', () => {
    writeFileSync(at('file'), '');
    expect(() => new HostDirectory(at('nowhere'))).toThrow(/does not exist/);
    expect(() => new HostDirectory(at('file'))).toThrow(/no directory/);
  });

  it('leave access times alone with noatime, and let the guest keep things with cache: always', async () => {
    writeFileSync(at('file'), 'x');
    closeSync(openSync(at('file'), 'r'));
    chmodSync(at('file'), 0o644);
    const { guest } = await mount({ noatime: true, cache: 'always' });
    const before = lstatSync(at('file')).atimeMs;
    const { id } = await guest.lookup(ROOT, 'file');
    const { view } = await guest.ok(fuse.FUSE_OPEN, id, body(0, 0));
    expect(view.getUint32(8, true)).toBe(fuse.FOPEN_KEEP_CACHE);
    await guest.read(id, Number(view.getBigUint64(0, true)), 0, 1);
    expect(lstatSync(at('file')).atimeMs).toBe(before);
    const lookup = await guest.ok(fuse.FUSE_LOOKUP, ROOT, body('file'));
    expect(lookup.view.getBigUint64(16, true)).toBe(86400n);
  });
});
