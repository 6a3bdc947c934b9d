import { type IncomingMessage, request } from 'node:http';
import { type Duplex, Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import * as v from 'valibot';
import type { ExecOptions } from '../agent/guest-process.ts';
import { isTreePath } from '../agent/messages.ts';
import type { TreeItem, TreeSource } from '../agent/transfers.ts';
import { VmmError, isErrno, messageOf } from '../errors.ts';
import { isAlive } from '../process-identity.ts';
import type { SnapshotInfo } from '../snapshot/save.ts';
import { type RuntimeEntry, removeStaleEntry, runtimeEntry } from '../runtime-directory.ts';
import { ConsoleClient } from './console-client.ts';
import { type FilesReport, filesReportSchema } from './exec-schema.ts';
import { UPGRADE } from './frames.ts';
import { remoteError } from './remote-error.ts';
import { type FrameConnection, RemoteProcess } from './remote-process.ts';
import {
  API,
  type StopRequest,
  type VmInfo,
  type VmStats,
  controlErrorSchema,
  vmInfoSchema,
  vmStatsSchema,
} from './schema.ts';
import { type SnapshotRequest, snapshotInfoSchema } from './snapshot-schema.ts';
import { SocketPath } from './socket-path.ts';
import { tarOf, untar } from './tar.ts';

/** Largest answer in JSON that is read, in bytes. */
const ANSWER_LIMIT = 4 * 1024 * 1024;
/** Milliseconds after which a process whose connections broke off is known to live. */
const DEATH_TIME = 100;
/** Milliseconds that a VM has for ending itself before its process is killed. */
const KILL_TIMEOUT = 3_000;
const POLL = 10;
/** Bytes of a body that wait for the connection. */
const BODY_BUFFER = 64 * 1024;

/** What a request takes besides its body. */
export interface RequestOptions {
  readonly signal?: AbortSignal | undefined;
}

interface Exchange extends RequestOptions {
  readonly method: 'GET' | 'POST' | 'PUT';
  readonly path: string;
  /** JSON, or bytes as they come. */
  readonly body?: object | Readable;
  readonly headers?: Readonly<Record<string, string>>;
}

type Answer = { readonly response: IncomingMessage } | { readonly socket: Duplex; readonly head: Uint8Array };

/** Speaks to a VM of this user's by its control socket. Errors of the VM come as it tells them: VmmError with its code. */
export class ControlClient {
  readonly #entry: RuntimeEntry;

  private constructor(entry: RuntimeEntry) {
    this.#entry = entry;
  }

  /** @throws VmmError `NO_SUCH_VM`, `INVALID_CONFIG` for an unusable name, `RUNTIME_DIRECTORY` */
  static connect(name: string): ControlClient {
    return new ControlClient(runtimeEntry(name));
  }

  /** For a VM that was just found. */
  static of(entry: RuntimeEntry): ControlClient {
    return new ControlClient(entry);
  }

  get name(): string {
    return this.#entry.name;
  }

  get pid(): number {
    return this.#entry.holder.pid;
  }

  async info(options: RequestOptions = {}): Promise<VmInfo> {
    return await this.#json({ ...options, method: 'GET', path: '/vm' }, vmInfoSchema);
  }

  async stats(options: RequestOptions = {}): Promise<VmStats> {
    return await this.#json({ ...options, method: 'GET', path: '/stats' }, vmStatsSchema);
  }

  /** @throws VmmError `WRONG_STATE` unless it runs */
  async pause(options: RequestOptions = {}): Promise<VmInfo> {
    return await this.#json({ ...options, method: 'POST', path: '/pause' }, vmInfoSchema);
  }

  /** @throws VmmError `WRONG_STATE` unless it is paused */
  async resume(options: RequestOptions = {}): Promise<VmInfo> {
    return await this.#json({ ...options, method: 'POST', path: '/resume' }, vmInfoSchema);
  }

  /** Resolves when the VM has ended. */
  async stop(body: StopRequest = {}, options: RequestOptions = {}): Promise<VmInfo> {
    return await this.#json({ ...options, method: 'POST', path: '/stop', body }, vmInfoSchema);
  }

  async reset(options: RequestOptions = {}): Promise<VmInfo> {
    return await this.#json({ ...options, method: 'POST', path: '/reset' }, vmInfoSchema);
  }

  /**
   * Has a snapshot written by the VM's process, which goes on with it when nobody waits any more.
   *
   * @throws VmmError `SNAPSHOT_FAILED`, `SNAPSHOT_MISMATCH` for a base that is none, `INVALID_REQUEST` for a path that is
   *   not absolute
   */
  async snapshot(body: SnapshotRequest, options: RequestOptions = {}): Promise<SnapshotInfo> {
    return await this.#json({ ...options, method: 'POST', path: '/snapshot', body }, snapshotInfoSchema);
  }

  /**
   * Ends the VM at once; its process, too, where that does not answer.
   *
   * @returns what the VM said of its end; undefined when the process was killed
   */
  async kill(options: RequestOptions = {}): Promise<VmInfo | undefined> {
    const limit = AbortSignal.timeout(KILL_TIMEOUT);
    const signal = options.signal === undefined ? limit : AbortSignal.any([limit, options.signal]);
    try {
      return await this.#json({ signal, method: 'POST', path: '/kill' }, vmInfoSchema);
    } catch (error) {
      if (options.signal?.aborted === true) throw error;
    }
    const { holder, name } = this.#entry;
    try {
      if (isAlive(holder)) process.kill(holder.pid, 'SIGKILL');
    } catch (error) {
      if (!isErrno(error, 'ESRCH')) throw error;
    }
    while (isAlive(holder)) await delay(POLL, undefined, { signal: options.signal });
    removeStaleEntry(name);
    return undefined;
  }

  /** The console log: what there is of it, and with `follow` what comes until the VM ends. */
  async logs(options: RequestOptions & { readonly follow?: boolean } = {}): Promise<IncomingMessage> {
    const path = options.follow === true ? '/logs?follow=1' : '/logs';
    return await this.#success({ signal: options.signal, method: 'GET', path });
  }

  /** The console, as one more of its viewers. */
  async console(options: RequestOptions = {}): Promise<ConsoleClient> {
    const { socket, head } = await this.#upgrade({ ...options, method: 'GET', path: '/console' });
    return new ConsoleClient(socket, head);
  }

  /**
   * Runs a command in the guest, without a shell; `exit` of the answer tells how it ended.
   *
   * @throws VmmError `INVALID_REQUEST` for what cannot be sent
   */
  exec(argv: readonly string[], options: ExecOptions = {}): RemoteProcess {
    const connect = async (signal: AbortSignal | undefined): Promise<FrameConnection> =>
      await this.#upgrade({ signal, method: 'POST', path: '/exec' });
    return new RemoteProcess(connect, argv, options);
  }

  /**
   * Writes files, directories and links below an existing directory of the guest; what is there is replaced, except for
   * directories.
   *
   * @throws VmmError `GUEST_ERROR` with the code of the guest's system in `cause`, `NO_AGENT`, `AGENT_LOST`, `INVALID_REQUEST`,
   *   `CONTROL_FAILED`; what `entries` throws; the signal's reason: what was written before stays
   */
  async put(
    directory: string,
    entries: AsyncIterable<TreeSource> | Iterable<TreeSource>,
    options: RequestOptions = {},
  ): Promise<void> {
    await this.putTar(directory, tarOf(entries), options);
  }

  /** The same with a tar stream. */
  async putTar(
    directory: string,
    tar: AsyncIterable<Uint8Array>,
    { signal }: RequestOptions = {},
  ): Promise<FilesReport> {
    const body = Readable.from(tar, { objectMode: false, highWaterMark: BODY_BUFFER });
    const path = `/files?path=${encodeURIComponent(directory)}`;
    try {
      return await this.#json({ signal, method: 'PUT', path, body }, filesReportSchema);
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      body.destroy();
    }
  }

  /**
   * Reads a file or a tree of the guest, paths relative to the parent of `path`. They are checked; whoever writes them to a disk
   * still has to see to it that no link among them is followed.
   *
   * @throws VmmError `GUEST_ERROR` with the code of the guest's system in `cause`, `NO_AGENT`, `AGENT_LOST`, `INVALID_REQUEST`,
   *   `CONTROL_FAILED`; the signal's reason
   */
  async *get(path: string, options: RequestOptions = {}): AsyncGenerator<TreeItem, void, undefined> {
    const response = await this.getTar(path, options);
    response.on('error', () => undefined);
    try {
      for await (const item of untar(response as AsyncIterable<Uint8Array>)) {
        if (!isTreePath(item.path)) throw this.#failed(`sent ${JSON.stringify(item.path)} as a path`);
        yield item;
      }
    } catch (error) {
      options.signal?.throwIfAborted();
      throw response.errored === null ? error : this.brokeOff(error);
    } finally {
      response.destroy();
    }
  }

  /** The same as a tar stream; it breaks off when the tree cannot be read to its end. */
  async getTar(path: string, { signal }: RequestOptions = {}): Promise<IncomingMessage> {
    return await this.#success({ signal, method: 'GET', path: `/files?path=${encodeURIComponent(path)}` });
  }

  /** The error for a stream of {@link logs} or {@link getTar} that did not come to its end. */
  brokeOff(cause: unknown): VmmError {
    return this.#failed('broke off in its answer', cause);
  }

  async #json<T>(exchange: Exchange, schema: v.GenericSchema<unknown, T>): Promise<T> {
    const response = await this.#success(exchange);
    const result = v.safeParse(schema, await this.#body(response));
    if (result.success) return result.output;
    throw this.#failed(`answered something else than this version expects: ${result.issues[0].message}`);
  }

  /** A response of success; everything else becomes an error. */
  async #success(exchange: Exchange): Promise<IncomingMessage> {
    const answer = await this.#open(exchange);
    if (!('response' in answer)) {
      answer.socket.destroy();
      throw this.#failed('changed the protocol');
    }
    if (answer.response.statusCode === 200) return answer.response;
    throw await this.#refused(answer.response);
  }

  async #upgrade(exchange: Exchange): Promise<FrameConnection> {
    const headers = { connection: 'upgrade', upgrade: UPGRADE };
    const answer = await this.#open({ ...exchange, headers });
    if ('response' in answer) throw await this.#refused(answer.response);
    return answer;
  }

  async #open({ method, path, body, headers = {}, signal }: Exchange): Promise<Answer> {
    let broken: unknown;
    try {
      using socketPath = SocketPath.short(this.#entry.path);
      const text = body === undefined || body instanceof Readable ? '' : JSON.stringify(body);
      const length = body instanceof Readable ? {} : { 'content-length': Buffer.byteLength(text) };
      return await new Promise<Answer>((resolve, reject) => {
        const asked = request({
          socketPath: socketPath.path,
          method,
          path: `${API}${path}`,
          agent: false,
          headers: { ...headers, ...length },
          ...(signal === undefined ? {} : { signal }),
        })
          .on('error', reject)
          .on('response', (response) => {
            // An answer that comes before the end of what is sent is a refusal.
            if (body instanceof Readable) body.destroy();
            resolve({ response });
          })
          .on('upgrade', (_, socket, head) => resolve({ socket, head }));
        if (body instanceof Readable) {
          body.on('error', (error) => {
            broken = error;
            asked.destroy(error);
          });
          body.pipe(asked);
        } else {
          asked.end(text);
        }
      });
    } catch (error) {
      if (body instanceof Readable) body.destroy();
      if (broken !== undefined) throw error;
      throw await this.#unreachable(error, signal);
    }
  }

  async #body(response: IncomingMessage): Promise<unknown> {
    let text = '';
    response.setEncoding('utf8');
    try {
      for await (const chunk of response) {
        text += String(chunk);
        if (text.length > ANSWER_LIMIT) throw this.#failed('answered more than this version reads');
      }
      return JSON.parse(text);
    } catch (error) {
      throw error instanceof VmmError ? error : this.brokeOff(error);
    }
  }

  async #refused(response: IncomingMessage): Promise<VmmError> {
    const result = v.safeParse(v.object({ error: controlErrorSchema }), await this.#body(response));
    if (!result.success) return this.#failed(`answered ${response.statusCode ?? 0}`);
    return remoteError(result.output.error);
  }

  async #unreachable(cause: unknown, signal: AbortSignal | undefined): Promise<VmmError> {
    const { name, holder } = this.#entry;
    // A process that is killed closes its sockets before it is dead.
    for (let waited = 0; waited < DEATH_TIME && isAlive(holder) && signal?.aborted !== true; waited += POLL) {
      if (isErrno(cause, 'ENOENT')) break;
      await delay(POLL);
    }
    if (!isAlive(holder)) {
      removeStaleEntry(name);
      return new VmmError('NO_SUCH_VM', `no VM named "${name}" runs any more`, { cause });
    }
    if (isErrno(cause, 'ENOENT') || isErrno(cause, 'ECONNREFUSED')) {
      return this.#failed('has no control socket: it is being made, or belongs to another program', cause);
    }
    return this.#failed(`does not answer: ${messageOf(cause)}`, cause);
  }

  #failed(what: string, cause?: unknown): VmmError {
    return new VmmError('CONTROL_FAILED', `the VM "${this.name}" (pid ${this.pid}) ${what}`, { cause });
  }
}
