// What the addon promises of MemoryMap and BlockFile, as plain JavaScript, so that it runs under a sanitizer as well.
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const BASE = 0x4000_0000;
const ENOENT = 2;
const EFAULT = 14;
const ENODATA = 61;
export const ENGINE_ONLY = 1;

export const pattern = (length) => Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 0xff);

/** A file, its handle, and a way to submit and await transfers of [write, position, [address, length]...]. */
export class Rig {
  constructor(native, { engine = 'auto', flags = 0, regions, bytes = pattern(65536) } = {}) {
    this.folder = mkdtempSync(join(tmpdir(), 'native-block-'));
    this.path = join(this.folder, 'file');
    writeFileSync(this.path, bytes);
    const fd = openSync(this.path, 'r+');
    this.waiting = new Map();
    this.early = new Map();
    this.file = new native.BlockFile(fd, engine, () => this.collect());
    closeSync(fd);
    this.flags = flags;
    this.memory = new Uint8Array(65536);
    this.map = new native.MemoryMap(regions ?? [{ guestAddress: BASE, bytes: this.memory }]);
  }

  collect() {
    const out = new Int32Array(8);
    for (let count = this.file.take(out); count > 0; count = this.file.take(out)) {
      for (let i = 0; i < count; i++) this.waiting.get(out[2 * i])?.(out[2 * i + 1]);
    }
  }

  outcome(token) {
    return new Promise((resolve) => this.waiting.set(token, resolve));
  }

  submit(...list) {
    const transfers = new Float64Array(list.length * 4);
    const pairs = [];
    list.forEach(([write, position, ...pieces], i) => {
      transfers.set([write ? 1 : 0, position, pairs.length / 2, pairs.length / 2 + pieces.length], i * 4);
      pairs.push(...pieces.flat());
    });
    const results = new Int32Array(list.length);
    const pending = this.file.submit(
      this.map,
      transfers,
      list.length,
      Float64Array.from(pairs),
      results,
      this.flags,
    );
    assert.equal(pending, results.filter((result) => result < 0).length);
    return results;
  }

  /** The errno of each transfer in the end. */
  async run(...list) {
    const results = this.submit(...list);
    return Promise.all(
      Array.from(results, async (result, i) => {
        if (result >= 0) return result;
        const errno = await this.outcome(-result);
        return list[i][0] ? errno : this.file.finish(-result, true);
      }),
    );
  }

  close() {
    this.file.close();
    rmSync(this.folder, { recursive: true });
  }
}

const code = (expected) => (error) =>
  error.code === expected && error.errno > 0 && typeof error.syscall === 'string';

async function withRig(native, options, run) {
  const rig = new Rig(native, options);
  try {
    await run(rig);
  } finally {
    rig.close();
  }
}

/** @returns {[name: string, run: () => Promise<void>][]} */
export function blockCases(native) {
  const cases = [];
  const WAYS = [
    { engine: 'auto', flags: 0 },
    { engine: 'io_uring', flags: ENGINE_ONLY },
    { engine: 'threads', flags: ENGINE_ONLY },
  ];
  for (const way of WAYS) {
    const it = (name, run, options = {}) =>
      cases.push([`${way.engine}: ${name}`, () => withRig(native, { ...way, ...options }, run)]);

    it('reads into pieces of any size, and writes from them', async (rig) => {
      assert.deepEqual(await rig.run([false, 100, [BASE + 5, 3], [BASE + 100, 1000], [BASE, 1]]), [0]);
      const expected = pattern(65536);
      assert.deepEqual(rig.memory.subarray(5, 8), expected.subarray(100, 103));
      assert.deepEqual(rig.memory.subarray(100, 1100), expected.subarray(103, 1103));
      assert.equal(rig.memory[0], expected[1103]);
      assert.deepEqual(await rig.run([true, 4096, [BASE + 100, 1000], [BASE + 5, 3]]), [0]);
      assert.deepEqual(
        new Uint8Array(readFileSync(rig.path).subarray(4096, 5096)),
        expected.subarray(103, 1103),
      );
    });

    it('carries out as many transfers as there are, more than the engine takes at a time', async (rig) => {
      const list = Array.from({ length: 200 }, (_, i) => [false, i * 100, [BASE + i * 100, 100]]);
      assert.deepEqual(new Set(await rig.run(...list)), new Set([0]));
      assert.deepEqual(rig.memory.subarray(0, 20000), pattern(20000));
    });

    it('takes more pieces than one system call does', async (rig) => {
      const pieces = Array.from({ length: 3000 }, (_, i) => [BASE + i * 2, 1]);
      assert.deepEqual(await rig.run([false, 0, ...pieces]), [0]);
      for (let i = 0; i < 3000; i++) assert.equal(rig.memory[i * 2], pattern(3000)[i]);
      assert.deepEqual(await rig.run([true, 10000, ...pieces]), [0]);
      assert.deepEqual(new Uint8Array(readFileSync(rig.path).subarray(10000, 13000)), pattern(3000));
    });

    it('refuses what is not in one region, and carries out the rest of the batch', async (rig) => {
      const bad = [
        [BASE - 1, 2],
        [BASE + 65535, 2],
        [BASE + 65536, 1],
        [0, 512],
        [BASE, 2 ** 53],
        [2 ** 53, 1],
        [BASE, -1],
        [-1, 1],
        [BASE + 0.5, 1],
        [BASE, 1.5],
        [NaN, 1],
        [BASE, NaN],
        [Infinity, 1],
        [BASE, Infinity],
      ];
      const good = [false, 0, [BASE, 16]];
      const results = await rig.run(
        good,
        ...bad.map((piece) => [false, 0, piece]),
        ...bad.map((piece) => [true, 0, piece]),
        good,
      );
      assert.deepEqual(results, [0, ...bad.map(() => EFAULT), ...bad.map(() => EFAULT), 0]);
      assert.deepEqual(new Uint8Array(readFileSync(rig.path)), pattern(65536));
    });

    it(
      'does not write to read-only memory, and writes from it',
      async (rig) => {
        assert.deepEqual(await rig.run([false, 0, [BASE, 16]]), [EFAULT]);
        assert.deepEqual(await rig.run([true, 0, [BASE, 16]]), [0]);
      },
      { regions: [{ guestAddress: BASE, bytes: new Uint8Array(4096), readOnly: true }] },
    );

    const shared = new Uint8Array(new SharedArrayBuffer(8192), 4096, 4096);
    it(
      'uses memory on a SharedArrayBuffer, from its byteOffset',
      async (rig) => {
        assert.deepEqual(await rig.run([false, 0, [BASE, 4096]]), [0]);
        assert.deepEqual(Uint8Array.from(shared), pattern(4096));
        assert.deepEqual(await rig.run([false, 0, [BASE + 4096, 1]]), [EFAULT]);
      },
      { regions: [{ guestAddress: BASE, bytes: shared }] },
    );

    it('memory that was detached is no memory', async (rig) => {
      globalThis.structuredClone(rig.memory, { transfer: [rig.memory.buffer] });
      assert.deepEqual(await rig.run([false, 0, [BASE, 16]], [true, 0, [BASE, 16]], [false, 0, [BASE, 0]]), [
        EFAULT,
        EFAULT,
        EFAULT,
      ]);
    });

    it('says ENODATA beyond the end of the file', async (rig) => {
      assert.deepEqual(await rig.run([false, 65536, [BASE, 1]], [false, 65000, [BASE, 1000]]), [
        ENODATA,
        ENODATA,
      ]);
    });

    it('tells of sync, punched holes and zeroes', async (rig) => {
      assert.equal(await rig.outcome(rig.file.sync()), 0);
      assert.equal(await rig.outcome(rig.file.allocate('punch', 4096, 4096)), 0);
      assert.equal(await rig.outcome(rig.file.zero(16384, 8192)), 0);
      const expected = pattern(65536);
      expected.fill(0, 4096, 8192);
      expected.fill(0, 16384, 24576);
      assert.deepEqual(new Uint8Array(readFileSync(rig.path)), expected);
    });

    it('has the size, the engine, and a lock', async (rig) => {
      assert.equal(rig.file.size, 65536);
      assert.equal(rig.file.engine, way.engine === 'auto' ? rig.file.engine : way.engine);
      assert.equal(rig.file.lock(true), true);
      const fd = openSync(rig.path, 'r+');
      const other = new native.BlockFile(fd, way.engine, () => undefined);
      closeSync(fd);
      assert.equal(other.lock(false), false);
      rig.file.close();
      assert.equal(other.lock(true), true);
      other.close();
    });

    it('a closed file throws EBADF', async (rig) => {
      rig.file.close();
      rig.file.close();
      assert.throws(() => rig.submit([false, 0, [BASE, 1]]), code('EBADF'));
      assert.throws(() => rig.file.sync(), code('EBADF'));
      assert.throws(() => rig.file.size, code('EBADF'));
      assert.equal(rig.file.take(new Int32Array(2)), 0);
    });

    it('a read that was told before the file was closed is gone', async (rig) => {
      const [token] = rig.submit([false, 0, [BASE, 4096]]);
      if (token === 0) return;
      assert.equal(await rig.outcome(-token), 0);
      rig.file.close();
      assert.equal(rig.file.finish(-token, true), ENOENT);
      assert.deepEqual(rig.memory, new Uint8Array(65536));
    });

    it('carries out nothing of a batch with a transfer that is none', async (rig) => {
      rig.memory.fill(1);
      assert.throws(() => rig.submit([true, 0, [BASE, 4096]], [true, -1, [BASE, 1]]), { name: 'RangeError' });
      assert.equal(await rig.outcome(rig.file.sync()), 0);
      assert.deepEqual(new Uint8Array(readFileSync(rig.path)), pattern(65536));
    });

    it('may be closed with everything in flight, and from its own callback', async (rig) => {
      for (let i = 0; i < 100; i++) rig.submit([false, i, [BASE, 512]], [true, 30000, [BASE, 512]]);
      rig.file.sync();
      rig.file.close();
      const fd = openSync(rig.path, 'r+');
      const done = new Promise((resolve) => {
        const file = new native.BlockFile(fd, way.engine, () => {
          file.close();
          resolve();
        });
        file.sync();
      });
      closeSync(fd);
      await done;
    });

    it('checks its arguments', async (rig) => {
      const floats = new Float64Array(8);
      const ints = new Int32Array(2);
      const { file, map } = rig;
      assert.throws(() => file.submit(map, floats, 3, floats, ints, 0), { name: 'RangeError' });
      assert.throws(() => file.submit(map, floats, 2, floats, new Int32Array(1), 0), { name: 'RangeError' });
      assert.throws(() => file.submit({}, floats, 1, floats, ints, 0), { name: 'TypeError' });
      assert.throws(() => file.submit(file, floats, 1, floats, ints, 0), { name: 'TypeError' });
      assert.throws(() => file.submit(map, ints, 1, floats, ints, 0), { name: 'TypeError' });
      assert.throws(() => file.submit(map, floats, 1, floats, floats, 0), { name: 'TypeError' });
      for (const bad of [
        [0, -1, 0, 0],
        [0, 0.5, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 5],
        [0, 0, NaN, 0],
        [0, 0, 0, Infinity],
      ]) {
        assert.throws(() => file.submit(map, Float64Array.from(bad), 1, floats, ints, 0), {
          name: 'RangeError',
        });
      }
      assert.throws(() => file.take(floats), { name: 'TypeError' });
      assert.throws(() => file.finish('x', true), { name: 'TypeError' });
      assert.equal(file.finish(12345, true) > 0, true);
      assert.throws(() => file.allocate('other', 0, 1), { name: 'RangeError' });
      assert.throws(() => file.allocate('punch', -1, 1), { name: 'RangeError' });
      assert.throws(() => file.zero(0, 0), { name: 'RangeError' });
      assert.throws(() => file.submit.call({}, map, floats, 0, floats, ints, 0), { name: 'TypeError' });
    });
  }

  cases.push([
    'memory that is detached while a read is under way is not written',
    () =>
      withRig(native, { engine: 'threads', flags: ENGINE_ONLY }, async (rig) => {
        const [token] = rig.submit([false, 0, [BASE, 4096]]);
        const outcome = rig.outcome(-token);
        globalThis.structuredClone(rig.memory, { transfer: [rig.memory.buffer] });
        assert.equal(await outcome, 0);
        assert.equal(rig.file.finish(-token, true), EFAULT);
      }),
  ]);
  cases.push([
    'a read that nobody wants any more is dropped',
    () =>
      withRig(native, { engine: 'io_uring', flags: ENGINE_ONLY }, async (rig) => {
        const [token] = rig.submit([false, 0, [BASE, 4096]]);
        assert.equal(await rig.outcome(-token), 0);
        assert.equal(rig.file.finish(-token, false), 0);
        assert.deepEqual(rig.memory, new Uint8Array(65536));
      }),
  ]);
  cases.push([
    'constructors check their arguments',
    async () => {
      assert.throws(() => new native.BlockFile(-1, 'auto', () => undefined), { name: 'RangeError' });
      assert.throws(() => new native.BlockFile(0, 5, () => undefined), { name: 'TypeError' });
      assert.throws(() => new native.BlockFile(0, 'auto'), { name: 'TypeError' });
      assert.throws(() => new native.BlockFile(9999, 'auto', () => undefined), code('EBADF'));
      assert.throws(() => native.MemoryMap([]), { name: 'TypeError' });
      for (const regions of [
        5,
        [5],
        [{}],
        [{ guestAddress: 0, bytes: new Int8Array(8) }],
        [{ guestAddress: 'x', bytes: new Uint8Array(8) }],
      ])
        assert.throws(() => new native.MemoryMap(regions), { name: 'TypeError' });
      assert.throws(() => new native.MemoryMap([{ guestAddress: -1, bytes: new Uint8Array(8) }]), {
        name: 'RangeError',
      });
    },
  ]);
  return cases;
}
