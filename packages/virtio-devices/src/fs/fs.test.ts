import fc from 'fast-check';
import { GuestMemory } from '@vmm/vm-memory';
import { brokenChains } from '@vmm/virtio-queue/mock';
import { hello } from '../../examples/hello-fs.ts';
import { answerOf, body, FuseGuest } from '../../test/fuse-guest.ts';
import { VirtioFs } from '../index.ts';
import { DRIVER_COMBINATIONS, type CreateDriverOptions } from '../mock/index.ts';
import * as fuse from './constants.ts';
import type { FuseData } from './data.ts';
import { FuseError } from './errors.ts';
import type { FuseAttr, FuseEntry, FuseHandler } from './handler.ts';
import { decodeName, encodeName } from './names.ts';

const ROOT = fuse.FUSE_ROOT_ID;

const ATTR: FuseAttr = {
  ino: 2 ** 52 + 7,
  size: 2 ** 40 + 3,
  blocks: 9,
  atime: -1,
  atimensec: 1,
  mtime: 2 ** 33 + 5,
  mtimensec: 999_999_999,
  ctime: 3,
  ctimensec: 4,
  mode: fuse.S_IFREG | 0o4755,
  nlink: 3,
  uid: 1000,
  gid: 1001,
  rdev: 0xabc,
  blksize: 512,
};
const ENTRY: FuseEntry = { nodeId: 2, attr: ATTR, entryValid: 1500, attrValid: 2250 };

/** Remembers what it was asked and answers what a test says. */
class MockHandler implements FuseHandler {
  readonly description: string = 'mock';
  readonly calls: unknown[][] = [];
  /** Instead of the usual answer. */
  result: unknown = undefined;

  #answer<T>(value: T, ...call: unknown[]): T {
    this.calls.push(call);
    // The tests know what fits.
    return this.result === undefined ? value : (this.result as T);
  }

  lookup(_context: unknown, parent: number, name: string): FuseEntry {
    return this.#answer(ENTRY, 'lookup', parent, name);
  }

  getattr(): { attr: FuseAttr; attrValid: number } {
    return this.#answer({ attr: ATTR, attrValid: 0 }, 'getattr');
  }

  forget(node: number, count: number): void {
    this.calls.push(['forget', node, count]);
  }

  symlink(_context: unknown, parent: number, name: string, target: string): FuseEntry {
    return this.#answer(ENTRY, 'symlink', parent, name, target);
  }

  rename(_context: unknown, ...call: unknown[]): 0 {
    return this.#answer(0, 'rename', ...call);
  }

  getxattr(): Uint8Array {
    return this.#answer(Uint8Array.of(1, 2, 3, 4), 'getxattr');
  }

  setxattr(_context: unknown, _node: number, name: string, value: Uint8Array): 0 {
    return this.#answer(0, 'setxattr', name, [...value]);
  }

  read(
    _context: unknown,
    node: number,
    fh: number,
    offset: number,
    data: FuseData,
  ): number | Promise<number> {
    data.store(new Uint8Array(data.length).fill(0x61));
    return this.#answer(data.length, 'read', node, fh, offset, data.length);
  }

  write(_context: unknown, node: number, fh: number, offset: number, data: FuseData): number {
    const bytes = new Uint8Array(data.length);
    data.load(bytes);
    return this.#answer(data.length, 'write', node, fh, offset, Buffer.from(bytes).toString());
  }

  destroy(): void {
    this.calls.push(['destroy']);
  }

  /** The calls since the last time. */
  take(): unknown[][] {
    return this.calls.splice(0);
  }
}

async function start(how?: CreateDriverOptions): Promise<{ guest: FuseGuest; handler: MockHandler }> {
  const handler = new MockHandler();
  const guest = new FuseGuest(handler, how);
  await guest.init();
  handler.take();
  return { guest, handler };
}

const read = (size: number, offset = 0n): Uint8Array => body(7n, offset, size, 0, 0n, 0, 0);
const write = (data: string, size = data.length): Uint8Array =>
  body(7n, 11n, size, 0, 0n, 0, 0, Buffer.from(data));

describe('configuration space, §5.11.4', () => {
  it('has the tag and the number of request queues', () => {
    const device = new VirtioFs({ tag: 'ü', handler: new MockHandler(), queues: 3 });
    expect([0, 1, 2].map((at) => device.configRead(at, 1))).toEqual([0xc3, 0xbc, 0]);
    expect([device.configRead(36, 4), device.configRead(40, 4)]).toEqual([3, 0]);
    expect(device.queueSizes).toHaveLength(4);
  });

  it.each([
    { tag: '' },
    { tag: 'x'.repeat(37) },
    { tag: 'ü'.repeat(19) },
    { tag: 'a\0b' },
    { queues: 0 },
    { queues: 17 },
    { queueSize: 48 },
    { maxTransfer: 5000 },
  ])('is refused for %p', (options) => {
    expect(() => new VirtioFs({ tag: 'x', handler: new MockHandler(), ...options })).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }) as Error,
    );
  });
});

describe('INIT', () => {
  it('agrees on the older minor version, sizes, and flags that both know', async () => {
    const guest = new FuseGuest(new MockHandler(), {}, { maxTransfer: 65536 });
    const content = body(7, 36, 4096, 0xffff_ffff, 0, new Uint8Array(44));
    const { error, view } = await guest.request(fuse.FUSE_INIT, 0, content);
    expect(error).toBe(0);
    expect([view.getUint32(0, true), view.getUint32(4, true)]).toEqual([7, 36]);
    const flags = view.getUint32(12, true);
    expect(flags & fuse.FUSE_MAX_PAGES).not.toBe(0);
    // Without readdir in the handler.
    expect(flags & fuse.FUSE_DO_READDIRPLUS).toBe(0);
    expect([view.getUint32(20, true), view.getUint16(28, true)]).toEqual([65536, 16]);
  });

  it('asks a later major version to come again, and refuses what is too old', async () => {
    const guest = new FuseGuest(new MockHandler());
    const init = (major: number, minor: number) => guest.request(fuse.FUSE_INIT, 0, body(major, minor, 0, 0));
    const { error, view } = await init(8, 0);
    expect([error, view.getUint32(0, true)]).toEqual([0, 7]);
    expect((await guest.request(fuse.FUSE_LOOKUP, ROOT, body('a'))).error).toBe(-fuse.EIO);
    expect((await init(7, 30)).error).toBe(-fuse.EPROTO);
    expect((await init(6, 40)).error).toBe(-fuse.EPROTO);
    expect((await init(7, 31)).error).toBe(0);
    expect((await guest.request(fuse.FUSE_LOOKUP, ROOT, body('a'))).error).toBe(0);
  });

  it('and DESTROY and a reset of the device end what was before', async () => {
    const { guest, handler } = await start();
    await guest.init();
    expect(handler.take()).toEqual([['destroy']]);
    await guest.ok(fuse.FUSE_DESTROY, ROOT);
    expect(handler.take()).toEqual([['destroy']]);
    expect((await guest.request(fuse.FUSE_GETATTR, ROOT, body(0, 0, 0n))).error).toBe(-fuse.EIO);
    guest.driver.start();
    expect(handler.take()).toEqual([['destroy']]);
  });
});

describe.each(DRIVER_COMBINATIONS)('requests over $transport with $ring rings', (how) => {
  it('are answered with the structures of linux/fuse.h', async () => {
    const { guest, handler } = await start(how);
    const { view } = await guest.ok(fuse.FUSE_LOOKUP, ROOT, body('näme'));
    expect(handler.take()).toEqual([['lookup', ROOT, encodeName('näme')]]);
    expect(view.byteLength).toBe(128);
    expect(view.getBigUint64(0, true)).toBe(2n);
    expect([view.getBigUint64(16, true), view.getUint32(32, true)]).toEqual([1n, 500_000_000]);
    expect([view.getBigUint64(24, true), view.getUint32(36, true)]).toEqual([2n, 250_000_000]);
    expect(view.getBigUint64(40, true)).toBe(2n ** 52n + 7n);
    expect(view.getBigUint64(48, true)).toBe(2n ** 40n + 3n);
    expect(view.getBigInt64(64, true)).toBe(-1n);
    expect(view.getBigInt64(72, true)).toBe(2n ** 33n + 5n);
    expect([92, 100, 108, 112, 116, 120].map((at) => view.getUint32(at, true))).toEqual([
      999_999_999,
      ATTR.mode,
      1000,
      1001,
      0xabc,
      512,
    ]);
  });

  it('READ and WRITE move data between the guest’s buffers and the handler', async () => {
    const { guest, handler } = await start(how);
    const ring = guest.driver.rings[1]!;
    const head = ring.add(
      [
        { readable: guest.message(fuse.FUSE_READ, 5, read(300, 4096n)) },
        ...[10, 6, 100, 200].map((writable) => ({ writable })),
      ],
      'indirect',
    );
    guest.driver.kick(1);
    await guest.turns();
    const answer = answerOf(await guest.wait(head));
    expect(Buffer.from(answer.body).toString()).toBe('a'.repeat(300));
    expect(handler.take()).toEqual([['read', 5, 7, 4096, 300]]);
    expect((await guest.ok(fuse.FUSE_WRITE, 5, write('data'))).view.getUint32(0, true)).toBe(4);
    expect(handler.take()).toEqual([['write', 5, 7, 11, 'data']]);
    expect(guest.device.statistics).toMatchObject({ reads: 1, readBytes: 300, writes: 1, writtenBytes: 4 });
  });

  it('are answered in any order, each with an interrupt if it comes later', async () => {
    const { guest, handler } = await start(how);
    let finish: (value: number) => void = () => undefined;
    handler.result = new Promise<number>((resolve) => (finish = resolve));
    const ring = guest.driver.rings[1]!;
    const slow = ring.add([{ readable: guest.message(fuse.FUSE_READ, 5, read(4)) }, { writable: 20 }]);
    guest.driver.kick(1);
    await guest.turns();
    handler.result = undefined;
    await guest.ok(fuse.FUSE_GETATTR, ROOT, body(0, 0, 0n));
    expect(guest.device.statistics.inFlight).toBe(1);
    guest.driver.interrupt.take();
    finish(4);
    expect(answerOf(await guest.wait(slow)).error).toBe(0);
    expect(guest.driver.interrupt.take()).toBe(1);
  });
});

describe('requests without an answer', () => {
  it('FORGET and BATCH_FORGET give their buffers back on the high priority queue', async () => {
    const { guest, handler } = await start();
    await guest.forget(9, 3);
    const ring = guest.driver.rings[0]!;
    const batch = body(2, 0, 4n, 1n, 5n, 2n);
    const head = ring.add([{ readable: guest.message(fuse.FUSE_BATCH_FORGET, 0, batch) }]);
    guest.driver.kick(0);
    expect(await guest.wait(head, 0)).toHaveLength(0);
    expect(handler.take()).toEqual([
      ['forget', 9, 3],
      ['forget', 4, 1],
      ['forget', 5, 2],
    ]);
  });

  it('a BATCH_FORGET of more than it has forgets what it has', async () => {
    const { guest, handler } = await start();
    const ring = guest.driver.rings[0]!;
    const batch = body(0xffff_ffff, 0, 4n, 1n, 5n);
    await guest.wait(
      (ring.add([{ readable: guest.message(fuse.FUSE_BATCH_FORGET, 0, batch) }]), guest.driver.kick(0), 0),
      0,
    );
    expect(handler.take()).toEqual([['forget', 4, 1]]);
  });

  it('INTERRUPT tells a request that waits, and finds none that does not', async () => {
    const handler = new MockHandler();
    let interrupted: () => boolean = () => false;
    let finish: (value: number) => void = () => undefined;
    handler.read = (context: { interrupted: boolean }) => {
      interrupted = () => context.interrupted;
      return new Promise<number>((resolve) => (finish = resolve));
    };
    const guest = new FuseGuest(handler);
    await guest.init();
    const message = guest.message(fuse.FUSE_READ, 5, read(4));
    const unique = new DataView(message.buffer, message.byteOffset).getBigUint64(8, true);
    const head = guest.driver.rings[1]!.add([{ readable: message }, { writable: 20 }]);
    guest.driver.kick(1);
    await guest.turns();
    for (const [number, expected] of [
      [unique + 2n, false],
      [unique, true],
    ] as const) {
      const interrupt = guest.driver.rings[0]!.add([
        { readable: guest.message(fuse.FUSE_INTERRUPT, 0, body(number)) },
      ]);
      guest.driver.kick(0);
      await guest.wait(interrupt, 0);
      expect(interrupted()).toBe(expected);
    }
    finish(-fuse.EINTR);
    expect(answerOf(await guest.wait(head)).error).toBe(-fuse.EINTR);
  });
});

describe('a reset while requests wait', () => {
  it('leaves memory alone that is the driver’s again, and drops the answer', async () => {
    const { guest, handler } = await start();
    let finish: (value: number) => void = () => undefined;
    handler.result = new Promise<number>((resolve) => (finish = resolve));
    guest.driver.rings[1]!.add([{ readable: guest.message(fuse.FUSE_READ, 5, read(4)) }, { writable: 20 }]);
    guest.driver.kick(1);
    await guest.turns();
    guest.driver.start();
    handler.result = undefined;
    guest.driver.interrupt.take();
    const memory = guest.driver.memory.regions[0]!.bytes;
    const before = memory.slice();
    finish(4);
    await new Promise((resolve) => setImmediate(resolve));
    expect(Buffer.compare(memory, before)).toBe(0);
    expect(guest.driver.interrupt.take()).toBe(0);
    expect((await guest.init()).error).toBe(0);
  });

  it('and the end of the machine’s memory leave nothing behind but a message', async () => {
    const handler = new MockHandler();
    const bytes = new Uint8Array(1024 * 1024);
    const memory = new GuestMemory([{ guestAddress: 0x8000_0000, bytes }]);
    const guest = new FuseGuest(handler, { memory });
    await guest.init();
    let finish: (value: FuseEntry) => void = () => undefined;
    handler.result = new Promise<FuseEntry>((resolve) => (finish = resolve));
    const message = guest.message(fuse.FUSE_LOOKUP, ROOT, body('a'));
    guest.driver.rings[1]!.add([{ readable: message }, { writable: 200 }]);
    guest.driver.kick(1);
    await guest.turns();
    structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
    finish(ENTRY);
    await guest.turns();
    expect(guest.device.statistics.inFlight).toBe(0);
    expect(guest.errors).toHaveLength(1);
  });

  it('pause() waits for what is in flight, the forgotten among it', async () => {
    const { guest, handler } = await start();
    let finish: (value: number) => void = () => undefined;
    handler.result = new Promise<number>((resolve) => (finish = resolve));
    guest.driver.rings[1]!.add([{ readable: guest.message(fuse.FUSE_READ, 5, read(4)) }, { writable: 20 }]);
    guest.driver.kick(1);
    await guest.turns();
    let paused = false;
    const pausing = guest.driver.transport.pause().then(() => (paused = true));
    await new Promise((resolve) => setImmediate(resolve));
    expect(paused).toBe(false);
    finish(4);
    await pausing;
  });
});

describe('what a guest may not send', () => {
  const bad: readonly [what: string, opcode: number, content: Uint8Array, errno: number, room?: number][] = [
    ['an unknown request', 999, body(), fuse.ENOSYS],
    ['one that the handler has not', fuse.FUSE_MKDIR, body(0, 0, 'x'), fuse.ENOSYS],
    ['a name with a slash', fuse.FUSE_LOOKUP, body('a/b'), fuse.EINVAL],
    ['..', fuse.FUSE_LOOKUP, body('..'), fuse.EINVAL],
    ['.', fuse.FUSE_LOOKUP, body('.'), fuse.EINVAL],
    ['no name', fuse.FUSE_LOOKUP, body('', ''), fuse.ENOENT],
    ['a name without an end', fuse.FUSE_LOOKUP, Buffer.from('endless'), fuse.EINVAL],
    ['a name of 256 bytes', fuse.FUSE_LOOKUP, body('x'.repeat(256)), fuse.ENAMETOOLONG],
    ['an empty lookup', fuse.FUSE_LOOKUP, body(), fuse.EINVAL],
    ['a lookup without room for the answer', fuse.FUSE_LOOKUP, body('a'), fuse.EINVAL, 127],
    ['a symbolic link without a target', fuse.FUSE_SYMLINK, body('name'), fuse.EINVAL],
    ['a target of 4096 bytes', fuse.FUSE_SYMLINK, body('name', 'x'.repeat(4096)), fuse.ENAMETOOLONG],
    ['a rename with one name', fuse.FUSE_RENAME, body(1n, 'only'), fuse.EINVAL],
    ['a rename to ..', fuse.FUSE_RENAME, body(1n, 'a', '..'), fuse.EINVAL],
    ['unknown flags of a rename', fuse.FUSE_RENAME2, body(1n, 4, 0, 'a', 'b'), fuse.EINVAL],
    ['a READ beyond the limit', fuse.FUSE_READ, read(0x7fff_ffff), fuse.EINVAL],
    ['a READ without room', fuse.FUSE_READ, read(100), fuse.EINVAL, 99],
    ['a READ at 2^63', fuse.FUSE_READ, read(4, 2n ** 63n), fuse.EINVAL],
    ['half a READ', fuse.FUSE_READ, body(7n), fuse.EINVAL],
    ['a WRITE of more than it brings', fuse.FUSE_WRITE, write('data', 5), fuse.EINVAL],
    ['half a WRITE', fuse.FUSE_WRITE, body(7n, 0n), fuse.EINVAL],
    ['an attribute that is longer than said', fuse.FUSE_SETXATTR, body(100, 0, 'user.a', 'v'), fuse.EINVAL],
    ['an attribute of 64 KiB and one', fuse.FUSE_SETXATTR, body(65537, 0, 'user.a', 'v'), fuse.E2BIG],
    ['room for half of an attribute', fuse.FUSE_GETXATTR, body(2, 0, 'user.a'), fuse.ERANGE],
    ['a body of 80 KiB', fuse.FUSE_LOOKUP, new Uint8Array(80 * 1024).fill(0x61), fuse.EINVAL],
  ];

  it.each(bad.map((row) => ({ what: row[0], row })))('$what is answered with an error', async ({ row }) => {
    const [, opcode, content, errno, room] = row;
    const { guest } = await start();
    const answer = await guest.request(opcode, ROOT, content, room);
    expect(answer.error).toBe(-errno);
    expect(answer.body).toHaveLength(0);
    expect((await guest.lookup(ROOT, 'still-works')).id).toBe(2);
    expect(guest.driver.needsReset).toBe(false);
  });

  const header = body(40, fuse.FUSE_GETATTR, 2n, 1n, 0, 0, 0, 0);
  it.each([
    ['half a header', [{ readable: header.subarray(0, 39) }, { writable: 200 }]],
    ['nothing to read', [{ writable: 200 }]],
    ['a length beyond the chain', [{ readable: body(41, header.subarray(4)) }, { writable: 200 }]],
    ['a length below the header', [{ readable: body(39, header.subarray(4)) }, { writable: 200 }]],
    ['no room for an answer', [{ readable: header }, { writable: 15 }]],
  ])('%s needs a reset, after which the device works', async (_what, buffers) => {
    const { guest } = await start();
    guest.driver.rings[1]!.add(buffers);
    guest.driver.kick(1);
    await guest.turns();
    expect(guest.driver.needsReset).toBe(true);
    guest.driver.start();
    await guest.init();
    expect((await guest.lookup(ROOT, 'a')).id).toBe(2);
  });

  it.each([true, false])('broken chains need a reset, packed ring: %p', async (packed) => {
    for (const { name, add } of brokenChains({ packed, indirect: true })) {
      const { guest } = await start({ ring: packed ? 'packed' : 'split' });
      for (const queue of [0, 1]) {
        add(guest.driver.rings[queue]!);
        guest.driver.kick(queue);
        await guest.turns();
        expect([name, guest.driver.needsReset]).toEqual([name, true]);
        guest.driver.start();
      }
      await guest.init();
      expect((await guest.lookup(ROOT, 'a')).id).toBe(2);
    }
  });
});

describe('a handler', () => {
  it.each<[string, unknown, number]>([
    ['an error', -fuse.ENOSPC, fuse.ENOSPC],
    ['a promise of an error', Promise.resolve(-fuse.ENOSPC), fuse.ENOSPC],
    ['a positive number', 5, fuse.EIO],
    ['a number that is no error', -5000, fuse.EIO],
    ['not a number', Number.NaN, fuse.EIO],
  ])('may answer %s', async (_what, result, errno) => {
    const { guest, handler } = await start();
    handler.result = result;
    expect((await guest.request(fuse.FUSE_LOOKUP, ROOT, body('a'))).error).toBe(-errno);
  });

  it('may throw or reject: the guest gets EIO, or what a FuseError says, and the host hears of it', async () => {
    const { guest, handler } = await start();
    handler.lookup = () => {
      throw new Error('broken');
    };
    expect((await guest.request(fuse.FUSE_LOOKUP, ROOT, body('a'))).error).toBe(-fuse.EIO);
    handler.read = () => Promise.reject(new Error('late'));
    expect((await guest.request(fuse.FUSE_READ, ROOT, read(4))).error).toBe(-fuse.EIO);
    expect(guest.errors).toEqual(['request 1 on mock failed: broken', 'request 15 on mock failed: late']);
    handler.lookup = () => {
      throw new FuseError(fuse.ENOSPC);
    };
    expect((await guest.request(fuse.FUSE_LOOKUP, ROOT, body('a'))).error).toBe(-fuse.ENOSPC);
    expect(guest.errors).toHaveLength(2);
  });

  it.each([
    ['READ', fuse.FUSE_READ, read(4)],
    ['WRITE', fuse.FUSE_WRITE, write('data')],
  ])('that claims more than there is in a %s is not believed', async (_what, opcode, content) => {
    const { guest, handler } = await start();
    handler.result = 5;
    expect((await guest.request(opcode, ROOT, content)).error).toBe(-fuse.EIO);
  });
});

it('survives any request, and answers every one that can be answered', async () => {
  const opcodes = [...Array(54).keys(), 4096];
  const request = fc.record({
    opcode: fc.oneof(fc.constantFrom(...opcodes), fc.nat(0xffff_ffff)),
    node: fc.oneof(fc.constantFrom(0, 1, 2), fc.nat()),
    words: fc.array(fc.oneof(fc.constantFrom(0, 1, 4, 40, 4096, 0xffff_ffff), fc.nat(0xffff_ffff)), {
      maxLength: 24,
    }),
    text: fc.oneof(fc.constantFrom('a', '..', '../..', 'a/b', ''), fc.string()),
    room: fc.constantFrom(0, 8, 128, 4096),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(request, { maxLength: 20 }), async (requests) => {
      const { guest } = await start({ queueSize: 16 });
      for (const { opcode, node, words, text, room } of requests) {
        const content = body(...words, text, text);
        if ([fuse.FUSE_FORGET, fuse.FUSE_BATCH_FORGET, fuse.FUSE_INTERRUPT].includes(opcode)) continue;
        const { error } = await guest.request(opcode, node, content, room);
        expect(error).toBeLessThanOrEqual(0);
        expect(error).toBeGreaterThan(-4096);
      }
      expect(guest.errors).toEqual([]);
      expect(guest.driver.needsReset).toBe(false);
      await guest.init();
      expect((await guest.lookup(ROOT, 'a')).id).toBe(2);
    }),
    { numRuns: 150, endOnFailure: true },
  );
});

it('the example of the documentation is a file system', async () => {
  // Its types are those of the compiled package.
  const guest = new FuseGuest(hello as unknown as FuseHandler);
  await guest.init();
  const { id, size } = await guest.lookup(ROOT, 'hello');
  const fh = await guest.open(id);
  expect(Buffer.from(await guest.read(id, fh, 2, 100)).toString()).toBe('llo\n');
  expect(size).toBe(6);
  expect((await guest.request(fuse.FUSE_LOOKUP, ROOT, body('other'))).error).toBe(-fuse.ENOENT);
  expect((await guest.request(fuse.FUSE_MKDIR, ROOT, body(0o755, 0, 'new'))).error).toBe(-fuse.ENOSYS);
});

describe('names', () => {
  it('are bytes, UTF-8 or not', () => {
    expect(decodeName(encodeName('naïve 文 🙂'))).toBe('naïve 文 🙂');
    expect(encodeName('é')).toBe('\xc3\xa9');
    expect(decodeName('\xff%41')).toBe('\xff%41');
    expect(encodeName('\ud800')).toBe('\xef\xbf\xbd');
  });
});

describe('a saved device', () => {
  it('goes on without INIT, and knows its tag', async () => {
    const { guest } = await start();
    const state = structuredClone(guest.device.save());
    const handler = new MockHandler();
    const other = new FuseGuest(handler);
    other.device.restore(state);
    expect((await other.lookup(ROOT, 'a')).id).toBe(2);
    expect(() => new VirtioFs({ tag: 'other', handler }).restore(state)).toThrow(
      expect.objectContaining({ code: 'INVALID_STATE' }) as Error,
    );
    for (const damage of [
      { version: 2 },
      { session: undefined },
      { session: { initialized: 1, minor: 3 } },
    ]) {
      expect(() => other.device.restore({ ...state, ...damage })).toThrow(
        expect.objectContaining({ code: 'INVALID_STATE' }) as Error,
      );
    }
  });
});
