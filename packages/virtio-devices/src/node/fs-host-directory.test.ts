import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { body, FuseGuest } from '../../test/fuse-guest.ts';
import * as fuse from '../fs/constants.ts';
import { DRIVER_COMBINATIONS, type CreateDriverOptions } from '../mock/index.ts';
import { HostDirectory } from './fs-host-directory.ts';
import type { HostDirectoryOptions } from './fs-options.ts';

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
