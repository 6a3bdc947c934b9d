import * as fuse from '../src/fs/constants.ts';
import { type FuseHandler, VirtioFs, type VirtioFsOptions } from '../src/index.ts';
import { startDriver } from '../src/mock/index.ts';
import type { CreateDriverOptions, MockVirtioDriver } from '../src/mock/index.ts';

const REQUESTS = 1;
/** Milliseconds for the thread pool, whose disk may be busy. */
const PATIENCE = 60_000;

/** The answer to a request. */
export interface Answer {
  /** 0 or negative. */
  readonly error: number;
  readonly body: Uint8Array;
  readonly view: DataView;
}

export interface Attr {
  readonly ino: number;
  readonly size: number;
  readonly mtime: number;
  readonly mtimensec: number;
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
}

export interface Entry extends Attr {
  readonly id: number;
}

export interface Listed {
  readonly name: string;
  readonly type: number;
  readonly offset: bigint;
  /** With READDIRPLUS; 0: the driver is to look it up. */
  readonly id: number;
}

export interface RequestOptions {
  readonly uid?: number;
  readonly gid?: number;
  readonly queue?: number;
}

/** A body of 32-bit words, 64-bit ones (bigint), strings that end with a NUL, and bytes. */
export function body(...parts: readonly (number | bigint | string | Uint8Array)[]): Uint8Array {
  return Buffer.concat(
    parts.map((part) => {
      if (typeof part === 'string') return Buffer.from(`${part}\0`);
      if (part instanceof Uint8Array) return part;
      const bytes = Buffer.alloc(typeof part === 'number' ? 4 : 8);
      if (typeof part === 'number') bytes.writeUInt32LE(part >>> 0);
      else bytes.writeBigUInt64LE(BigInt.asUintN(64, part));
      return bytes;
    }),
  );
}

/** A guest's FUSE client that sends what a test says. */
export class FuseGuest {
  readonly device: VirtioFs;
  readonly driver: MockVirtioDriver;
  readonly errors: string[] = [];
  #unique = 0;
  readonly #answers = new Map<number, Uint8Array>();

  constructor(handler: FuseHandler, how: CreateDriverOptions = {}, options: Partial<VirtioFsOptions> = {}) {
    this.device = new VirtioFs({
      tag: 'test',
      handler,
      onError: (error) => this.errors.push(error.message),
      ...options,
    });
    this.driver = startDriver(this.device, { queueSize: 64, ...how });
  }

  /** Header and body as they go into a chain. @param length what the header says, if not the truth */
  message(
    opcode: number,
    node: number,
    content: Uint8Array,
    options: RequestOptions = {},
    length?: number,
  ): Uint8Array {
    const size = length ?? fuse.FUSE_IN_HEADER_SIZE + content.length;
    const { uid = 0, gid = 0 } = options;
    this.#unique += 2;
    return body(size, opcode, BigInt(this.#unique), BigInt(node), uid, gid, 1, 0, content);
  }

  /** Sends a request and waits for the answer. @param room bytes for the answer's body */
  async request(
    opcode: number,
    node: number,
    content: Uint8Array = new Uint8Array(0),
    room = 4096,
    options: RequestOptions = {},
  ): Promise<Answer> {
    const queue = options.queue ?? REQUESTS;
    const ring = this.driver.rings[queue]!;
    const head = ring.add([
      { readable: this.message(opcode, node, content, options) },
      { writable: fuse.FUSE_OUT_HEADER_SIZE },
      ...(room > 0 ? [{ writable: room }] : []),
    ]);
    this.driver.kick(queue);
    return answerOf(await this.wait(head, queue));
  }

  /** Waits until a chain is used. */
  async wait(head: number, queue: number = REQUESTS): Promise<Uint8Array> {
    const end = Date.now() + PATIENCE;
    for (;;) {
      for (const used of this.driver.rings[queue]!.collect()) {
        this.#answers.set(queue * 65536 + used.head, used.written);
      }
      const found = this.#answers.get(queue * 65536 + head);
      this.driver.rings[queue]!.setUsedEvent();
      if (found !== undefined) {
        this.#answers.delete(queue * 65536 + head);
        return found;
      }
      if (Date.now() > end) throw new Error(`request ${head} was not answered`);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Lets the device do what it has put off. */
  async turns(): Promise<void> {
    for (let i = 0; i < 4; i++) await new Promise((resolve) => setImmediate(resolve));
  }

  init(flags = 0x7fff_ffff): Promise<Answer> {
    return this.request(fuse.FUSE_INIT, 0, body(7, 38, 65536, flags, 0, new Uint8Array(44)));
  }

  /** @throws the error as a number */
  async ok(
    opcode: number,
    node: number,
    content?: Uint8Array,
    room?: number,
    options?: RequestOptions,
  ): Promise<Answer> {
    const answer = await this.request(opcode, node, content, room, options);
    if (answer.error !== 0) throw new Errno(answer.error);
    return answer;
  }

  async lookup(parent: number, name: string): Promise<Entry> {
    return entryOf((await this.ok(fuse.FUSE_LOOKUP, parent, body(name))).view);
  }

  /** Looks a path up from the root. */
  async walk(path: string): Promise<Entry> {
    let entry: Entry | undefined;
    for (const name of path.split('/')) entry = await this.lookup(entry?.id ?? 1, name);
    return entry!;
  }

  async getattr(node: number): Promise<Attr> {
    return attrOf((await this.ok(fuse.FUSE_GETATTR, node, body(0, 0, 0n))).view, 16);
  }

  /** SETATTR of one or more fields. */
  async setattr(
    node: number,
    valid: number,
    fields: {
      size?: number;
      mode?: number;
      uid?: number;
      gid?: number;
      mtime?: number;
      mtimensec?: number;
    } = {},
  ): Promise<Attr> {
    const { size = 0, mode = 0, uid = 0, gid = 0, mtime = 0, mtimensec = 0 } = fields;
    const content = body(
      ...[valid, 0, 0n, BigInt(size), 0n, 0n, BigInt(mtime), 0n, 0, mtimensec, 0, mode, 0, uid, gid, 0],
    );
    return attrOf((await this.ok(fuse.FUSE_SETATTR, node, content)).view, 16);
  }

  async mkdir(parent: number, name: string, mode = 0o755, options?: RequestOptions): Promise<Entry> {
    return entryOf((await this.ok(fuse.FUSE_MKDIR, parent, body(mode, 0, name), undefined, options)).view);
  }

  async mknod(parent: number, name: string, mode: number, rdev = 0): Promise<Entry> {
    return entryOf((await this.ok(fuse.FUSE_MKNOD, parent, body(mode, rdev, 0, 0, name))).view);
  }

  async create(
    parent: number,
    name: string,
    flags = fuse.O_RDWR,
    mode = 0o644,
    options?: RequestOptions,
  ): Promise<Entry & { fh: number }> {
    const content = body(flags, mode, 0, 0, name);
    const { view } = await this.ok(fuse.FUSE_CREATE, parent, content, undefined, options);
    return { ...entryOf(view), fh: Number(view.getBigUint64(128, true)) };
  }

  async open(node: number, flags = fuse.O_RDONLY): Promise<number> {
    return Number((await this.ok(fuse.FUSE_OPEN, node, body(flags, 0))).view.getBigUint64(0, true));
  }

  async opendir(node: number): Promise<number> {
    return Number((await this.ok(fuse.FUSE_OPENDIR, node, body(0, 0))).view.getBigUint64(0, true));
  }

  async read(node: number, fh: number, offset: number, size: number): Promise<Uint8Array> {
    const content = body(BigInt(fh), BigInt(offset), size, 0, 0n, 0, 0);
    return (await this.ok(fuse.FUSE_READ, node, content, size)).body;
  }

  async write(
    node: number,
    fh: number,
    offset: number,
    data: Uint8Array | string,
    flags = 0,
  ): Promise<number> {
    const bytes = typeof data === 'string' ? Buffer.from(data) : data;
    const content = body(BigInt(fh), BigInt(offset), bytes.length, flags, 0n, 0, 0, bytes);
    return (await this.ok(fuse.FUSE_WRITE, node, content, 8)).view.getUint32(0, true);
  }

  async release(node: number, fh: number, opcode: number = fuse.FUSE_RELEASE): Promise<void> {
    await this.ok(opcode, node, body(BigInt(fh), 0, 0, 0n), 0);
  }

  /** A chain without room for an answer, on the high priority queue. */
  async forget(node: number, count = 1): Promise<void> {
    const ring = this.driver.rings[0]!;
    const head = ring.add([{ readable: this.message(fuse.FUSE_FORGET, node, body(BigInt(count))) }]);
    this.driver.kick(0);
    await this.wait(head, 0);
  }

  /** One READDIR or READDIRPLUS. */
  async readdir(node: number, fh: number, offset = 0n, plus = false, size = 4096): Promise<Listed[]> {
    const opcode = plus ? fuse.FUSE_READDIRPLUS : fuse.FUSE_READDIR;
    const { view, body: bytes } = await this.ok(
      opcode,
      node,
      body(BigInt(fh), offset, size, 0, 0n, 0, 0),
      size,
    );
    const listed: Listed[] = [];
    for (let at = 0; at < bytes.length;) {
      const dirent = plus ? at + 128 : at;
      const length = view.getUint32(dirent + 16, true);
      listed.push({
        name: Buffer.from(bytes.subarray(dirent + 24, dirent + 24 + length)).toString(),
        type: view.getUint32(dirent + 20, true),
        offset: view.getBigUint64(dirent + 8, true),
        id: plus ? Number(view.getBigUint64(at, true)) : 0,
      });
      at = dirent + ((24 + length + 7) & ~7);
    }
    return listed;
  }

  /** All names of a directory, sorted. */
  async list(node: number, plus = false, size = 4096): Promise<string[]> {
    const fh = await this.opendir(node);
    const names: string[] = [];
    for (let offset = 0n; ;) {
      const part = await this.readdir(node, fh, offset, plus, size);
      if (part.length === 0) break;
      names.push(...part.map(({ name }) => name));
      offset = part.at(-1)!.offset;
    }
    await this.release(node, fh, fuse.FUSE_RELEASEDIR);
    return names.sort();
  }
}

/** An answer that is an error. */
export class Errno extends Error {
  readonly errno: number;

  constructor(error: number) {
    super(`errno ${-error}`);
    this.errno = -error;
  }
}

export function answerOf(written: Uint8Array): Answer {
  const view = new DataView(written.buffer, written.byteOffset, written.byteLength);
  const rest = written.subarray(fuse.FUSE_OUT_HEADER_SIZE);
  return {
    error: view.getInt32(4, true),
    body: rest,
    view: new DataView(rest.buffer, rest.byteOffset, rest.byteLength),
  };
}

function entryOf(view: DataView): Entry {
  return { id: Number(view.getBigUint64(0, true)), ...attrOf(view, 40) };
}

function attrOf(view: DataView, at: number): Attr {
  return {
    ino: Number(view.getBigUint64(at, true)),
    size: Number(view.getBigUint64(at + 8, true)),
    mtime: Number(view.getBigInt64(at + 32, true)),
    mtimensec: view.getUint32(at + 52, true),
    mode: view.getUint32(at + 60, true),
    nlink: view.getUint32(at + 64, true),
    uid: view.getUint32(at + 68, true),
    gid: view.getUint32(at + 72, true),
  };
}
