import {
  mkdirSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { errnoOf, Sharing } from '../../test/fs-sharing.ts';
import { body } from '../../test/fuse-guest.ts';
import * as fuse from '../fs/constants.ts';
import { requireHost } from './load.ts';
import { FS_STAT } from './native-fs.ts';

const ROOT = fuse.FUSE_ROOT_ID;
const IS_ROOT = process.getuid?.() === 0;

let sharing: Sharing;
beforeEach(() => {
  sharing = new Sharing();
});
afterEach(() => sharing[Symbol.dispose]());

describe('what is outside of the directory', () => {
  it('is not reached through symbolic links, which are never followed', async () => {
    symlinkSync(sharing.scratch, sharing.at('up'));
    symlinkSync('../secret', sharing.at('file'));
    symlinkSync('/proc/self/root', sharing.at('magic'));
    const { guest } = await sharing.mount();
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
    expect(readlinkSync(sharing.at('hard'))).toBe('../secret');
    expect(statSync(join(sharing.scratch, 'secret'))).toMatchObject({ nlink: 1, size: 6 });
    expect(statSync(join(sharing.scratch, 'secret')).mtimeMs).toBeGreaterThan(1000);
  });

  it('is not reached by names', async () => {
    mkdirSync(sharing.at('d'));
    const { guest } = await sharing.mount();
    const d = await guest.lookup(ROOT, 'd');
    for (const name of ['..', '.', '../secret', 'd/../../secret', '/etc/passwd', '\0']) {
      expect(await errnoOf(guest.lookup(d.id, name))).toBeGreaterThan(0);
      expect(await errnoOf(guest.create(d.id, name))).toBeGreaterThan(0);
      expect(await errnoOf(guest.mkdir(d.id, name))).toBeGreaterThan(0);
      expect(await errnoOf(guest.ok(fuse.FUSE_UNLINK, d.id, body(name)))).toBeGreaterThan(0);
      const rename = body(BigInt(ROOT), 0, 0, 'd', name);
      expect(await errnoOf(guest.ok(fuse.FUSE_RENAME2, ROOT, rename))).toBeGreaterThan(0);
    }
    expect(readdirSync(sharing.scratch).sort()).toEqual(['secret', 'share']);
  });

  it('is not reached when a symbolic link takes the place of a directory that the guest knows', async () => {
    mkdirSync(sharing.at('d'));
    writeFileSync(sharing.at('d/secret'), 'inside');
    const { guest } = await sharing.mount({ maxHandles: 16 });
    const d = await guest.lookup(ROOT, 'd');
    const secret = await guest.lookup(d.id, 'secret');
    renameSync(sharing.at('d'), sharing.at('moved'));
    symlinkSync(sharing.scratch, sharing.at('d'));
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
    symlinkSync('/etc', sharing.at('link'));
    const here = fs.openRoot(sharing.root);
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
        rmSync(sharing.root, { recursive: true, force: true });
        mkdirSync(sharing.at('d'), { recursive: true });
        writeFileSync(sharing.at('a'), 'a');
        symlinkSync('../secret', sharing.at('link'));
        symlinkSync('..', sharing.at('up'));
        const { guest, share } = await sharing.mount({ maxOpenFiles: 8, maxNodes: 16 });
        for (const known of ['a', 'd', 'link', 'up']) await guest.lookup(ROOT, known);
        for (const { opcode, node, words, names } of requests) {
          await guest.request(opcode, node, body(...words, ...names));
        }
        expect(guest.errors).toEqual([]);
        share.close();
        expect(readdirSync(sharing.scratch).sort()).toEqual(['secret', 'share']);
        const secret = statSync(join(sharing.scratch, 'secret'));
        expect([secret.size, secret.nlink, secret.mode]).toEqual([6, 1, fuse.S_IFREG | 0o644]);
      }),
      { numRuns: 60, endOnFailure: true },
    );
  });
});

describe('files that are none', () => {
  it('are not opened: FIFOs, sockets and devices neither wait nor have effects', async () => {
    const { guest } = await sharing.mount();
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
    const { guest } = await sharing.mount();
    expect(await errnoOf(guest.mknod(ROOT, 'null', fuse.S_IFCHR | 0o666, 0x103))).toBe(fuse.EPERM);
    expect(await errnoOf(guest.mknod(ROOT, 'dir', fuse.S_IFDIR | 0o666))).toBe(fuse.EINVAL);
    expect(await errnoOf(guest.mknod(ROOT, 'suid', fuse.S_IFREG | 0o4755))).toBe(fuse.EPERM);
    expect(await errnoOf(guest.create(ROOT, 'sgid', fuse.O_RDWR, 0o2755))).toBe(fuse.EPERM);
    const file = await guest.create(ROOT, 'file');
    expect(await errnoOf(guest.setattr(file.id, fuse.FATTR_MODE, { mode: 0o6755 }))).toBe(fuse.EPERM);
    const dir = await guest.mkdir(ROOT, 'sgid', 0o2775);
    expect(dir.mode).toBe(fuse.S_IFDIR | 0o2775);
    const { guest: trusted } = await sharing.mount({ setuid: true });
    const entry = await trusted.lookup(ROOT, 'file');
    expect((await trusted.setattr(entry.id, fuse.FATTR_MODE, { mode: 0o4755 })).mode & 0o7777).toBe(0o4755);
    // A writer without the privilege takes the bit away; others that are there stay.
    expect((await guest.setattr(file.id, fuse.FATTR_MODE, { mode: 0o4700 })).mode & 0o7777).toBe(0o4700);
    await guest.write(file.id, file.fh, 0, 'x', fuse.FUSE_WRITE_KILL_SUIDGID);
    expect(statSync(sharing.at('file')).mode & 0o7777).toBe(0o700);
  });
});

describe('a read-only share', () => {
  it('refuses every change and changes nothing', async () => {
    writeFileSync(sharing.at('file'), 'content', { mode: 0o600 });
    mkdirSync(sharing.at('dir'));
    const { guest } = await sharing.mount({ readOnly: true });
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
    expect(statSync(sharing.at('file')).mode & 0o7777).toBe(0o600);
    expect(readdirSync(sharing.root).sort()).toEqual(['dir', 'file']);
  });
});

describe('owners', () => {
  const asRoot = IS_ROOT ? it : it.skip;

  asRoot('are the guest’s, or inherited from a directory with S_ISGID', async () => {
    const { guest } = await sharing.mount();
    const who = { uid: 1000, gid: 2000 };
    const file = await guest.create(ROOT, 'file', fuse.O_RDWR, 0o666, who);
    expect([file.uid, file.gid]).toEqual([1000, 2000]);
    const dir = await guest.mkdir(ROOT, 'dir', 0o2777, who);
    const inside = await guest.mkdir(dir.id, 'inside', 0o700, { uid: 5, gid: 6 });
    expect([inside.uid, inside.gid, inside.mode & 0o7777]).toEqual([5, 2000, 0o2700]);
    await guest.setattr(file.id, fuse.FATTR_UID, { uid: 7 });
    expect(statSync(sharing.at('file'))).toMatchObject({ uid: 7, gid: 2000, mode: fuse.S_IFREG | 0o666 });
  });

  asRoot('are moved into ranges of the host, and nobody is anybody outside of them', async () => {
    writeFileSync(sharing.at('stranger'), '');
    const range = [{ guest: 0, host: 100_000, count: 1000 }];
    const { guest } = await sharing.mount({ ids: { uids: range, gids: range } });
    expect(await guest.lookup(ROOT, 'stranger')).toMatchObject({ uid: 65534, gid: 65534 });
    const file = await guest.create(ROOT, 'file', fuse.O_RDWR, 0o644, { uid: 3, gid: 4 });
    expect([file.uid, file.gid]).toEqual([3, 4]);
    expect(statSync(sharing.at('file'))).toMatchObject({ uid: 100_003, gid: 100_004 });
    const outside = { uid: 1000, gid: 0 };
    expect(await errnoOf(guest.create(ROOT, 'no', fuse.O_RDWR, 0o644, outside))).toBe(fuse.EOVERFLOW);
    expect(await errnoOf(guest.setattr(file.id, fuse.FATTR_UID, { uid: 5000 }))).toBe(fuse.EOVERFLOW);
    expect(readdirSync(sharing.root).sort()).toEqual(['file', 'stranger']);
  });

  it('are squashed to this user, whom the guest takes for root', async () => {
    const { guest } = await sharing.mount({ ids: 'squash' });
    const file = await guest.create(ROOT, 'file', fuse.O_RDWR, 0o644, { uid: 1234, gid: 5678 });
    expect([file.uid, file.gid]).toEqual([0, 0]);
    expect(statSync(sharing.at('file')).uid).toBe(process.getuid?.());
    await guest.setattr(file.id, fuse.FATTR_UID | fuse.FATTR_GID);
    expect(await errnoOf(guest.setattr(file.id, fuse.FATTR_UID, { uid: 1 }))).toBe(fuse.EPERM);
  });
});

describe('extended attributes', () => {
  it('of users are set, told and removed; others are not there', async () => {
    const { guest } = await sharing.mount();
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
    const { guest: none } = await sharing.mount({ xattrs: 'none' });
    const file = await none.lookup(ROOT, 'file');
    expect(await errnoOf(none.ok(fuse.FUSE_LISTXATTR, file.id, body(0, 0)))).toBe(fuse.ENOSYS);
  });
});
