// What the addon promises of PtyMaster, as plain JavaScript, so that it runs under a sanitizer as well.
import assert from 'node:assert/strict';
import { closeSync, constants, existsSync, openSync, readSync, readdirSync, writeSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';

const READABLE = 1;
const WRITABLE = 2;
const HUNG_UP = -1;

/** A master, the events that it told of, and programs that have its terminal open. */
class Rig {
  constructor(native) {
    this.events = 0;
    this.callbacks = 0;
    this.programs = [];
    this.master = new native.PtyMaster((events) => {
      this.events |= events;
      this.callbacks++;
      this.onReady?.();
    });
  }

  open() {
    const fd = openSync(this.master.path, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
    this.programs.push(fd);
    return fd;
  }

  /** Waits until `check` answers something else than undefined. */
  async until(check) {
    for (;;) {
      const result = check();
      if (result !== undefined) return result;
      // Nothing of a pseudo-terminal keeps the event loop alive.
      await turn();
    }
  }

  event(bit) {
    return this.until(() => {
      if ((this.events & bit) === 0) return undefined;
      this.events &= ~bit;
      return bit;
    });
  }

  close() {
    for (const fd of this.programs.splice(0)) closeSync(fd);
    this.master.close();
  }
}

const text = (bytes) => Buffer.from(bytes).toString('latin1');
const isClosed = (error) => error.code === 'EBADF' && error.errno === 9 && typeof error.syscall === 'string';

/** @returns {[name: string, run: () => Promise<void>][]} */
export function ptyCases(native) {
  const cases = [];
  const it = (name, run) =>
    cases.push([
      `pty: ${name}`,
      async () => {
        const before = readdirSync('/proc/self/fd').length;
        const rig = new Rig(native);
        try {
          await run(rig);
        } finally {
          rig.close();
        }
        assert.equal(readdirSync('/proc/self/fd').length, before, 'descriptors are left');
      },
    ]);

  it('carries bytes both ways as they are', async (rig) => {
    const { master } = rig;
    const program = rig.open();
    const sent = Uint8Array.from({ length: 256 }, (_, i) => i);
    writeSync(program, sent);
    const buffer = new Uint8Array(300);
    const got = [];
    await rig.until(() => {
      const length = master.read(buffer.subarray(7));
      if (length > 0) got.push(...buffer.subarray(7, 7 + length));
      return got.length === sent.length ? true : undefined;
    });
    assert.deepEqual(got, [...sent]);
    assert.equal(master.write(sent), sent.length);
    await rig.until(() => (master.unread === sent.length ? true : undefined));
    assert.equal(readSync(program, buffer), sent.length);
    assert.deepEqual([...buffer.subarray(0, sent.length)], [...sent]);
  });

  it('tells once that there is something to read, and again when read() found nothing', async (rig) => {
    const { master } = rig;
    const program = rig.open();
    const buffer = new Uint8Array(16);
    writeSync(program, 'one');
    await rig.event(READABLE);
    const { callbacks } = rig;
    for (let i = 0; i < 20; i++) await turn();
    assert.equal(rig.callbacks, callbacks, 'what is unread wakes the event loop again');
    assert.equal(text(buffer.subarray(0, master.read(buffer))), 'one');
    assert.equal(master.read(buffer), 0);
    rig.events = 0;
    writeSync(program, 'two');
    await rig.event(READABLE);
    assert.equal(text(buffer.subarray(0, master.read(buffer))), 'two');
  });

  it('says when there is no room, and when there is again', async (rig) => {
    const { master } = rig;
    const program = rig.open();
    const chunk = new Uint8Array(4096).fill(65);
    let total = 0;
    for (let put = master.write(chunk); put > 0; put = master.write(chunk)) total += put;
    assert.ok(total > 0);
    rig.events = 0;
    const buffer = new Uint8Array(65536);
    let read = 0;
    await rig.until(() => {
      try {
        read += readSync(program, buffer);
      } catch (error) {
        assert.equal(error.code, 'EAGAIN');
      }
      return read === total ? true : undefined;
    });
    await rig.event(WRITABLE);
    assert.ok(master.write(chunk) > 0);
  });

  it('is hung up until a program comes, and when the last one has gone and all was read', async (rig) => {
    const { master } = rig;
    const buffer = new Uint8Array(16);
    assert.equal(master.hungUp, true);
    assert.equal(master.read(buffer), HUNG_UP);
    assert.equal(master.write(buffer), HUNG_UP);
    const program = rig.open();
    assert.equal(master.hungUp, false);
    writeSync(program, 'bye');
    closeSync(rig.programs.pop());
    assert.equal(master.hungUp, true);
    assert.equal(text(buffer.subarray(0, await rig.until(() => master.read(buffer) || undefined))), 'bye');
    assert.equal(master.read(buffer), HUNG_UP);
  });

  it('passes the window size on', async (rig) => {
    const { master } = rig;
    master.setSize(132, 43);
    assert.equal(master.size(), 132 * 65536 + 43);
    master.setSize(65535, 0);
    assert.equal(master.size(), 65535 * 65536);
    for (const bad of [-1, 65536, 1.5, Number.NaN]) {
      assert.throws(() => master.setSize(bad, 1), { name: 'RangeError' });
      assert.throws(() => master.setSize(1, bad), { name: 'RangeError' });
    }
    assert.throws(() => master.setSize('80', 24), { name: 'TypeError' });
    master.setRaw();
  });

  it('checks its arguments', async (rig) => {
    const { master } = rig;
    assert.throws(() => new native.PtyMaster(), { name: 'TypeError' });
    assert.throws(() => new native.PtyMaster({}), { name: 'TypeError' });
    assert.throws(() => native.PtyMaster(() => undefined), { name: 'TypeError' });
    for (const bad of [undefined, 'text', 5, new Int8Array(4), new DataView(new ArrayBuffer(4))]) {
      assert.throws(() => master.read(bad), { name: 'TypeError' });
      assert.throws(() => master.write(bad), { name: 'TypeError' });
    }
    assert.throws(() => master.read.call({}, new Uint8Array(1)), { name: 'TypeError' });
    rig.open();
    const detached = new Uint8Array(64);
    globalThis.structuredClone(detached.buffer, { transfer: [detached.buffer] });
    assert.equal(master.read(detached), 0);
    assert.equal(master.write(detached), 0);
  });

  it('a closed one throws EBADF, and its terminal is gone', async (rig) => {
    const { master } = rig;
    const { path } = master;
    master.close();
    master.close();
    assert.equal(existsSync(path), false);
    assert.equal(master.path, path);
    const buffer = new Uint8Array(1);
    const calls = ['read', 'write', 'size', 'setRaw', 'setSize'];
    for (const name of calls) assert.throws(() => master[name](buffer), isClosed, name);
    assert.throws(() => master.hungUp, isClosed);
    assert.throws(() => master.unread, isClosed);
  });

  it('may be closed from its own callback, and collected then', async (rig) => {
    const done = new Promise((resolve) => {
      rig.onReady = () => {
        rig.master.close();
        rig.master = { close: () => undefined };
        globalThis.gc?.();
        resolve();
      };
    });
    await Promise.race([done, rig.until(() => (rig.callbacks > 0 ? true : undefined))]);
    globalThis.gc?.();
  });

  return cases;
}
