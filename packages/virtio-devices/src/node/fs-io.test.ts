import { closeSync, fstatSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GuestMemory } from '@vmm/vm-memory';
import { EAGAIN, EBADF, EOPNOTSUPP, O_DSYNC } from '../fs/constants.ts';
import { FuseData } from '../fs/data.ts';
import { FileTable, type OpenFile } from './fs-files.ts';
import { FileIo } from './fs-io.ts';
import { HostNode } from './fs-nodes.ts';
import { requireHost } from './load.ts';
import type { NativeHost } from './native.ts';

const BASE = 0x8000_0000;
const CONTEXT = { uid: 0, gid: 0, pid: 0, cancelled: false, interrupted: false };

let scratch: string;
let path: string;

beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'vmm-fs-io-'));
  path = join(scratch, 'file');
  writeFileSync(path, '0123456789');
});

afterEach(() => rmSync(scratch, { recursive: true, force: true }));

/** The addon, with reads that say that they would wait. */
function waiting(error: number): NativeHost {
  const host = requireHost('the test');
  return { ...host, fs: { ...host.fs, read: () => -error } };
}

interface Fixture {
  readonly io: FileIo;
  readonly files: FileTable;
  readonly file: OpenFile;
  readonly memory: GuestMemory;
  readonly data: FuseData;
}

/** A file of 10 bytes, and a buffer of `length` bytes in two pieces. */
function open(host: NativeHost, length: number, flags = 0): Fixture {
  const files = new FileTable(host.fs, 10);
  const node = new HostNode(5, 0, -1, undefined, 'file', undefined, 0);
  const file = files.add(node, openSync(path, 'r+'), flags, false) as OpenFile;
  const memory = new GuestMemory([{ guestAddress: BASE, bytes: new Uint8Array(0x2000) }]);
  const data = new FuseData();
  data.set(
    memory,
    {
      iovecs: (size: number, out: Float64Array): number => {
        out.set([BASE + 0x1000, 3, BASE, size - 3]);
        return 4;
      },
    } as never,
    length,
    2,
  );
  return { io: new FileIo(host, files, false), files, file, memory, data };
}

function stored({ memory }: Fixture, length: number): string {
  const bytes = new Uint8Array(length);
  memory.read(BASE + 0x1000, bytes.subarray(0, 3));
  memory.read(BASE, bytes.subarray(3));
  return Buffer.from(bytes).toString('latin1');
}

describe.each([EAGAIN, EOPNOTSUPP])('a read that would wait (errno %p)', (error) => {
  it('goes through the thread pool, to the end of the file', async () => {
    const fixture = open(waiting(error), 20);
    const done = fixture.io.read(CONTEXT, fixture.file, 4, fixture.data);
    expect(done).toBeInstanceOf(Promise);
    expect(await done).toBe(6);
    expect(stored(fixture, 8)).toBe('456789\0\0');
    expect(fixture.io.pooled).toBe(1);
    fixture.files.clear();
  });

  it('leaves memory alone that was taken back meanwhile', async () => {
    const fixture = open(waiting(error), 10);
    const context = { ...CONTEXT };
    const done = fixture.io.read(context, fixture.file, 0, fixture.data);
    context.cancelled = true;
    await done;
    expect(stored(fixture, 10)).toBe('\0'.repeat(10));
    fixture.files.clear();
  });

  it('keeps its descriptor until it is done, although the file was closed', async () => {
    const fixture = open(waiting(error), 10);
    const done = fixture.io.read(CONTEXT, fixture.file, 0, fixture.data);
    expect(fixture.files.release(1, 5, false)).toBe(0);
    expect(fixture.files.get(1, 5)).toBe(-EBADF);
    expect(fstatSync(fixture.file.fd).size).toBe(10);
    expect(await done).toBe(10);
    expect(() => fstatSync(fixture.file.fd)).toThrow('EBADF');
  });
});

it('reads and writes what is in the cache at once', () => {
  const fixture = open(requireHost('the test'), 6);
  expect(fixture.io.read(CONTEXT, fixture.file, 2, fixture.data)).toBe(6);
  expect(stored(fixture, 6)).toBe('234567');
  expect(fixture.io.write(fixture.file, 8, fixture.data)).toBe(6);
  expect(readFileSync(path, 'utf8')).toBe('01234567234567');
  expect(fixture.io.pooled).toBe(0);
  fixture.files.clear();
});

it('writes to a file that is opened with O_DSYNC on the thread pool, from a copy', async () => {
  const fixture = open(requireHost('the test'), 6, O_DSYNC);
  fixture.data.store(Buffer.from('abcdef'));
  const done = fixture.io.write(fixture.file, 0, fixture.data);
  fixture.data.store(Buffer.from('XXXXXX'));
  expect(await done).toBe(6);
  expect(readFileSync(path, 'utf8')).toBe('abcdef6789');
  fixture.files.clear();
});

it('tells errors of the thread pool', async () => {
  const fixture = open(waiting(EAGAIN), 6);
  const readOnly = fixture.files.add(fixture.file.node, openSync(path, 'r'), O_DSYNC, false) as OpenFile;
  expect(await fixture.io.write(readOnly, 0, fixture.data)).toBe(-EBADF);
  expect(await fixture.io.sync(fixture.file, false)).toBe(0);
  closeSync(fixture.file.fd);
  expect(await fixture.io.read(CONTEXT, fixture.file, 0, fixture.data)).toBe(-EBADF);
});
