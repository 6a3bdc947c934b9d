// What the addon's file system calls promise, as plain JavaScript, so that it runs under a sanitizer as well.
import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runFullChild } from './fs-child.mjs';

const ENOENT = 2;
const EBADF = 9;
const EFAULT = 14;
const EEXIST = 17;
const ENOTDIR = 20;
const EINVAL = 22;
const ENXIO = 6;
const EISDIR = 21;
const ELOOP = 40;
const UNCHANGED = 0xffff_ffff;
const BASE = 0x4000_0000;

/** Calls with arguments that have the right types, by name. */
function samples({ stat, map }) {
  const bytes = new Uint8Array(64);
  const doubles = new Float64Array(9);
  return {
    openRoot: ['/nonexistent'],
    hasOpenat2: [-1],
    lookup: [-1, 'a', 1, stat],
    stat: [-1, stat],
    open: [-1, 0, 0],
    openDirectory: [-1, 0],
    create: [-1, 'a', 0, 0o644, 0, 0, stat],
    make: [-1, 'a', '', 0o100644, 0, 0, 0, 0, 1, stat],
    unlink: [-1, 'a', 0],
    rename: [-1, 'a', -1, 'b', 0],
    link: [-1, -1, 'a'],
    readlink: [-1, bytes],
    chmod: [-1, 0o644],
    chown: [-1, 0, 0],
    utimens: [-1, 0, 0, 0, 0],
    truncate: [-1, 0],
    killPrivileges: [-1],
    read: [-1, 0, map, doubles, 0, 1],
    write: [-1, 0, map, doubles, 0, 0],
    readdir: [-1, bytes],
    seekdir: [-1, 0, 0],
    lseek: [-1, 0, 0],
    statfs: [-1, doubles],
    getxattr: [-1, 'user.a', bytes],
    setxattr: [-1, 'user.a', bytes, 0],
    listxattr: [-1, bytes],
    removexattr: [-1, 'user.a'],
    fallocate: [-1, 0, 0, 1],
    close: [-1],
  };
}

/**
 * Pairs of a name and a function that throws or rejects when the promise is broken.
 *
 * @param addon path of the same, for processes
 */
export function fsCases(native, addon) {
  const { fs } = native;
  const stat = new Uint32Array(30);
  const memory = new Uint8Array(65536);
  const map = new native.MemoryMap([{ guestAddress: BASE, bytes: memory }]);

  const inFolder = (run) => async () => {
    const folder = mkdtempSync(join(tmpdir(), 'native-fs-'));
    const root = fs.openRoot(folder);
    const before = readdirSync('/proc/self/fd').length;
    try {
      await run({ folder, root });
      assert.equal(readdirSync('/proc/self/fd').length, before, 'descriptors are left');
    } finally {
      fs.close(root);
      rmSync(folder, { recursive: true, force: true });
    }
  };

  return [
    [
      'wrong arguments throw, and descriptors that are none are errors',
      () => {
        const good = samples({ stat, map });
        for (const [name, args] of Object.entries(good)) {
          assert.ok(fs[name](...args) <= 0, name);
          for (let i = 0; i < args.length; i++) {
            const changed = [...args];
            changed[i] = Symbol('wrong');
            assert.throws(() => fs[name](...changed), { name: 'TypeError' }, `${name} ${i}`);
          }
          assert.throws(() => fs[name](), { name: 'TypeError' }, name);
        }
        assert.throws(() => fs.stat(0, new Uint32Array(29)), { name: 'TypeError' });
        assert.throws(() => fs.stat(0, new Uint8Array(200)), { name: 'TypeError' });
      },
    ],
    [
      'names of any length',
      inFolder(({ root }) => {
        for (const length of [1, 255, 256, 4095, 4096]) {
          const name = 'n'.repeat(length);
          const handle = fs.lookup(root, name, 1, stat);
          assert.ok(handle < 0);
        }
        for (const length of [4097, 4098, 5000, 100_000]) {
          assert.throws(() => fs.lookup(root, 'n'.repeat(length), 1, stat), { name: 'TypeError' });
        }
        // 4096 characters, more bytes: what is left of it when it is cut is a path of another file.
        assert.throws(() => fs.openRoot(`${'/'.repeat(4095)}\u20ac`), { name: 'TypeError' });
        const both = 'b'.repeat(4096);
        assert.ok(fs.rename(root, both, root, both, 0) < 0);
        assert.equal(fs.unlink(root, '', 0), -ENOENT);
      }),
    ],
    [
      'names with a NUL inside are no names',
      inFolder(({ folder, root }) => {
        writeFileSync(join(folder, 'a'), '');
        assert.throws(() => fs.openRoot(`${folder}\0/elsewhere`), { name: 'TypeError' });
        assert.throws(() => fs.lookup(root, 'a\0b', 0, stat), { name: 'TypeError' });
        assert.throws(() => fs.unlink(root, 'a\0', 0), { name: 'TypeError' });
        assert.throws(() => fs.rename(root, 'a', root, 'c\0d', 0), { name: 'TypeError' });
        assert.deepEqual([...readdirSync(folder)], ['a']);
      }),
    ],
    [
      'nothing is left of what cannot be made for want of a descriptor',
      inFolder(({ folder }) => {
        const { status, stderr } = runFullChild(addon, folder);
        assert.equal(status, 0, stderr);
      }),
    ],
    [
      'files are made, opened and filled',
      inFolder(({ folder, root }) => {
        const fd = fs.create(root, 'file', 2, 0o604, UNCHANGED, UNCHANGED, stat);
        assert.ok(fd >= 0);
        assert.equal(stat[0], 0o100604);
        const handle = stat[27];
        assert.equal(fs.create(root, 'file', 2, 0o604, UNCHANGED, UNCHANGED, stat), -EEXIST);
        memory.fill(0x61, 0, 5000);
        const pairs = Float64Array.of(BASE, 4000, BASE + 4000, 1000);
        assert.equal(fs.write(fd, 3, map, pairs, 2, 0), 5000);
        assert.equal(readFileSync(join(folder, 'file')).length, 5003);
        memory.fill(0);
        assert.equal(fs.read(fd, 3, map, Float64Array.of(BASE + 100, 10), 1, 0), 10);
        assert.deepEqual([...memory.subarray(99, 111)], [0, ...Array(10).fill(0x61), 0]);
        const again = fs.open(handle, 0, 1);
        assert.ok(again >= 0);
        for (const each of [fd, handle, again]) assert.equal(fs.close(each), 0);
      }),
    ],
    [
      'guest memory is not left',
      inFolder(({ root }) => {
        const fd = fs.create(root, 'file', 2, 0o600, UNCHANGED, UNCHANGED, stat);
        const handle = stat[27];
        const bad = [
          [BASE + 65536, 1],
          [BASE + 65535, 2],
          [BASE - 1, 2],
          [0, 8],
          [Number.NaN, 8],
          [BASE, -1],
          [BASE, 2 ** 53],
          [BASE + 0.5, 1],
        ];
        for (const pair of bad) {
          assert.equal(fs.write(fd, 0, map, Float64Array.of(...pair), 1, 0), -EFAULT, String(pair));
          assert.equal(fs.read(fd, 0, map, Float64Array.of(...pair), 1, 0), -EFAULT, String(pair));
        }
        assert.equal(fs.read(fd, 0, map, new Float64Array(2), 2, 0), -EINVAL);
        for (const each of [fd, handle]) fs.close(each);
      }),
    ],
    [
      'more ranges than a system call takes',
      inFolder(({ root }) => {
        const fd = fs.create(root, 'file', 2, 0o600, UNCHANGED, UNCHANGED, stat);
        const handle = stat[27];
        for (let i = 0; i < memory.length; i++) memory[i] = (i * 7) & 0xff;
        const expected = memory.slice(0, 5000);
        const pairs = Float64Array.from({ length: 10000 }, (_, i) => (i % 2 === 0 ? BASE + i / 2 : 1));
        assert.equal(fs.write(fd, 0, map, pairs, 5000, 0), 5000);
        memory.fill(0);
        assert.equal(fs.read(fd, 0, map, pairs, 5000, 0), 5000);
        assert.deepEqual(memory.subarray(0, 5000), expected);
        for (const each of [fd, handle]) fs.close(each);
      }),
    ],
    [
      'memory that was taken away is no memory',
      inFolder(({ root }) => {
        const bytes = new Uint8Array(4096);
        const own = new native.MemoryMap([{ guestAddress: 0, bytes }]);
        const fd = fs.create(root, 'file', 2, 0o600, UNCHANGED, UNCHANGED, stat);
        const handle = stat[27];
        globalThis.structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
        assert.equal(fs.write(fd, 0, own, Float64Array.of(0, 16), 1, 0), -EFAULT);
        for (const each of [fd, handle]) fs.close(each);
      }),
    ],
    [
      'what is no regular file is not opened',
      inFolder(({ folder, root }) => {
        symlinkSync('/etc/passwd', join(folder, 'link'));
        mkdirSync(join(folder, 'directory'));
        const make = (name, mode) =>
          fs.make(root, name, '', mode, UNCHANGED, UNCHANGED, 0, 0, fs.hasOpenat2(root), stat);
        const fifo = make('fifo', 0o10600);
        const link = fs.lookup(root, 'link', fs.hasOpenat2(root), stat);
        const directory = fs.lookup(root, 'directory', 0, stat);
        assert.deepEqual(
          [fifo, link, directory].map((handle) => fs.open(handle, 2, 0)),
          [-ENXIO, -ELOOP, -EISDIR],
        );
        assert.equal(fs.lookup(link, 'x', 1, stat), -ENOTDIR);
        for (const each of [fifo, link, directory]) fs.close(each);
      }),
    ],
    [
      'syncfs answers later, though the handle is closed meanwhile',
      inFolder(async ({ folder }) => {
        writeFileSync(join(folder, 'file'), 'x');
        const handle = fs.openRoot(folder);
        const done = fs.syncfs(handle);
        fs.close(handle);
        assert.equal(await done, 0);
        assert.throws(() => fs.syncfs(0xffff), { code: 'EBADF', errno: EBADF });
        assert.throws(() => fs.syncfs(-1), { name: 'RangeError' });
      }),
    ],
  ];
}
