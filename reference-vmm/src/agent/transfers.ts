import { VmmError } from '../errors.ts';
import { CHANNEL, FRAME, type Frame, MAX_DATA, WINDOW, violation } from './frames.ts';
import {
  type TreeEntry,
  decodeCredit,
  decodeData,
  decodeEntry,
  decodeError,
  encodeEntry,
} from './messages.ts';
import { encodePath } from './messages.ts';
import type { Conversation, Session } from './session.ts';

/** An entry of a tree that is put into the guest; a file's content has exactly `size` bytes. */
export interface TreeSource extends TreeEntry {
  readonly content?: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/** An entry of a tree of the guest's. What is left of the content is skipped when the next entry is asked for. */
export interface TreeItem extends TreeEntry {
  readonly content: AsyncIterable<Uint8Array>;
}

/** Of so many directories the times are kept as they should be. */
const MAX_DIRECTORIES = 100_000;
/** More than an honest agent can have under way in a window. */
const MAX_PIECES = 8192;
const PORTION: number = WINDOW / 4;

/** A stream that carries a tree, or a request without anything behind it. */
class Transfer implements Conversation {
  stream = 0;
  readonly #what: string;
  readonly #onFrame: (frame: Frame) => void;
  #over = false;
  #failure: Error | undefined;
  #wake: () => void = () => undefined;

  constructor(what: string, onFrame: (frame: Frame) => void) {
    this.#what = what;
    this.#onFrame = onFrame;
  }

  /** The agent has sent its last frame. */
  get over(): boolean {
    return this.#over;
  }

  receive(frame: Frame): boolean {
    if (frame.type === FRAME.DONE) {
      if (frame.payload.length > 0) throw violation('DONE is too long');
      this.#over = true;
    } else if (frame.type === FRAME.ERROR) {
      this.fail(decodeError(this.#what, frame.payload));
    } else {
      this.#onFrame(frame);
    }
    this.#wake();
    return this.#over;
  }

  fail(error: Error): void {
    this.#over = true;
    this.#failure ??= error;
    this.#wake();
  }

  check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Resolves with the next frame; rejects with the failure. */
  async news(): Promise<void> {
    this.check();
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.check();
  }
}

function unexpected(frame: Frame): never {
  throw violation(`a frame of type ${frame.type} about a request`);
}

function open(
  session: Session,
  type: Parameters<Session['open']>[0],
  payload: Uint8Array,
  transfer: Transfer,
): void {
  session.open(type, payload, (stream) => {
    transfer.stream = stream;
    return transfer;
  });
}

/** Runs `work` with `signal` as a reason to leave it: the stream is then aborted. */
async function abortable<T>(
  session: Session,
  transfer: Transfer,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  let leave: () => void = () => undefined;
  const aborted = new Promise<never>((_, reject) => {
    leave = () => reject(signal?.reason as Error);
  });
  signal?.addEventListener('abort', leave, { once: true });
  try {
    return await Promise.race([work(), aborted]);
  } finally {
    signal?.removeEventListener('abort', leave);
    // No effect on what the agent has ended.
    if (!transfer.over) session.send(FRAME.ABORT, transfer.stream);
  }
}

/** A request that is answered with DONE or ERROR. @throws VmmError `GUEST_ERROR`, `AGENT_LOST` */
export async function ask(
  session: Session,
  what: string,
  type: Parameters<Session['open']>[0],
  payload: Uint8Array,
  signal?: AbortSignal,
): Promise<void> {
  signal?.throwIfAborted();
  const transfer = new Transfer(what, unexpected);
  open(session, type, payload, transfer);
  await abortable(session, transfer, signal, async () => {
    transfer.check();
    while (!transfer.over) await transfer.news();
  });
}

/** Writes a tree below a directory of the guest. */
export async function putTree(
  session: Session,
  directory: string,
  entries: AsyncIterable<TreeSource> | Iterable<TreeSource>,
  signal?: AbortSignal,
): Promise<void> {
  signal?.throwIfAborted();
  let credit = WINDOW;
  const transfer = new Transfer(`cannot write to ${directory} of the guest`, (frame) => {
    if (frame.type !== FRAME.CREDIT) unexpected(frame);
    const { channel, bytes } = decodeCredit(frame.payload);
    if (channel !== CHANNEL.stdin || bytes > WINDOW - credit)
      throw violation('credit for more than was sent');
    credit += bytes;
  });
  open(session, FRAME.PUT, encodePath(directory), transfer);
  const send = async (type: 'ENTRY' | 'DATA', bytes: Uint8Array): Promise<void> => {
    transfer.check();
    while (credit < bytes.length) await transfer.news();
    credit -= bytes.length;
    if (type === 'ENTRY') session.send(FRAME.ENTRY, transfer.stream, bytes);
    else session.send(FRAME.DATA, transfer.stream, Uint8Array.of(CHANNEL.stdin), bytes);
  };
  const directories: TreeEntry[] = [];
  await abortable(session, transfer, signal, async () => {
    for await (const entry of entries) {
      await send('ENTRY', encodeEntry(entry));
      if (entry.type === 'directory' && directories.length < MAX_DIRECTORIES) directories.push(entry);
      if (entry.type !== 'file') continue;
      let left = entry.size;
      for await (const chunk of entry.content ?? []) {
        left -= chunk.length;
        if (left < 0) break;
        for (let at = 0; at < chunk.length; at += MAX_DATA)
          await send('DATA', chunk.subarray(at, at + MAX_DATA));
      }
      if (left !== 0)
        throw new VmmError(
          'INVALID_REQUEST',
          `${entry.path}: its content has not the ${entry.size} bytes it should`,
        );
    }
    // What was put into them changed their times.
    for (const directory of directories.toReversed()) await send('ENTRY', encodeEntry(directory));
    transfer.check();
    session.send(FRAME.EOF, transfer.stream, Uint8Array.of(CHANNEL.stdin));
    while (!transfer.over) await transfer.news();
    transfer.check();
  });
}

type Piece = { readonly entry: TreeEntry; readonly cost: number } | { readonly bytes: Uint8Array };

/** What comes of a tree of the guest's, in order, checked. */
class IncomingTree {
  readonly transfer: Transfer;
  readonly #session: Session;
  readonly #pieces: Piece[] = [];
  #window = WINDOW;
  #taken = 0;
  /** Bytes of the file that came last which are to come. */
  #remaining = 0;
  /** Nobody wants more. */
  #abandoned = false;

  constructor(session: Session, path: string) {
    this.#session = session;
    this.transfer = new Transfer(`cannot read ${path} of the guest`, (frame) => this.#receive(frame));
  }

  abandon(): void {
    this.#abandoned = true;
    this.#pieces.length = 0;
  }

  /** The next piece, or undefined at the end. @throws VmmError */
  async next(): Promise<Piece | undefined> {
    for (;;) {
      const piece = this.#pieces.shift();
      if (piece !== undefined) {
        this.#account('entry' in piece ? piece.cost : piece.bytes.length);
        return piece;
      }
      this.transfer.check();
      if (this.transfer.over) return undefined;
      await this.transfer.news();
    }
  }

  #account(bytes: number): void {
    this.#taken += bytes;
    if (this.#taken < PORTION) return;
    this.#window += this.#taken;
    this.#session.giveCredit(this.transfer.stream, CHANNEL.stdout, this.#taken);
    this.#taken = 0;
  }

  #receive({ type, payload }: Frame): void {
    if (type === FRAME.ENTRY) {
      if (this.#remaining > 0) throw violation('ENTRY before the end of a file');
      const entry = decodeEntry(payload);
      this.#remaining = entry.size;
      this.#push({ entry, cost: payload.length }, payload.length);
    } else if (type === FRAME.DATA) {
      const { channel, bytes } = decodeData(payload);
      if (channel !== CHANNEL.stdout || bytes.length > this.#remaining)
        throw violation('DATA behind the end of a file');
      this.#remaining -= bytes.length;
      this.#push({ bytes }, bytes.length);
    } else {
      throw violation(`a frame of type ${type} about a tree`);
    }
  }

  #push(piece: Piece, cost: number): void {
    if (cost > this.#window) throw violation('more of a tree than there was credit for');
    this.#window -= cost;
    if (this.#abandoned) return;
    if (this.#pieces.length >= MAX_PIECES) throw violation('a tree in too many pieces');
    this.#pieces.push(piece);
  }
}

/** Reads a tree of the guest. */
export async function* getTree(
  session: Session,
  path: string,
  signal?: AbortSignal,
): AsyncGenerator<TreeItem, void, undefined> {
  const tree = new IncomingTree(session, path);
  open(session, FRAME.GET, encodePath(path), tree.transfer);
  const next = (): Promise<Piece | undefined> => raced(signal, tree);
  try {
    for (;;) {
      const piece = await next();
      if (piece === undefined) return;
      if (!('entry' in piece)) continue;
      let left = piece.entry.size;
      const content = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
        while (left > 0) {
          const part = await next();
          if (part === undefined || 'entry' in part) throw violation('the end of a tree in a file');
          left -= part.bytes.length;
          yield part.bytes;
        }
      };
      yield { ...piece.entry, content: content() };
      while (left > 0) {
        const part = await next();
        if (part === undefined || 'entry' in part) throw violation('the end of a tree in a file');
        left -= part.bytes.length;
      }
    }
  } finally {
    tree.abandon();
    if (!tree.transfer.over) session.send(FRAME.ABORT, tree.transfer.stream);
  }
}

async function raced(signal: AbortSignal | undefined, tree: IncomingTree): Promise<Piece | undefined> {
  if (signal === undefined) return await tree.next();
  signal.throwIfAborted();
  let leave: () => void = () => undefined;
  const aborted = new Promise<never>((_, reject) => {
    leave = () => reject(signal.reason as Error);
  });
  signal.addEventListener('abort', leave, { once: true });
  try {
    return await Promise.race([tree.next(), aborted]);
  } finally {
    signal.removeEventListener('abort', leave);
  }
}
