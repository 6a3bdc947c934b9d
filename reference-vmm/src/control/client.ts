import { type IncomingMessage, request } from 'node:http';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import * as v from 'valibot';
import { VMM_ERROR_CODES, VmmError, type VmmErrorCode, isErrno } from '../errors.ts';
import { isAlive } from '../process-identity.ts';
import { type RuntimeEntry, removeStaleEntry, runtimeEntries, runtimeEntry } from '../runtime-directory.ts';
import { ConsoleClient } from './console-client.ts';
import { UPGRADE } from './frames.ts';
import {
  API,
  type StopRequest,
  type VmInfo,
  type VmStats,
  controlErrorSchema,
  vmInfoSchema,
  vmStatsSchema,
} from './schema.ts';
import { SocketPath } from './socket-path.ts';

/** Largest answer in JSON that is read, in bytes. */
const ANSWER_LIMIT = 4 * 1024 * 1024;
const LIST_TIMEOUT = 1_000;
/** Milliseconds after which a process whose connections broke off is known to live. */
const DEATH_TIME = 100;
/** Milliseconds that a VM has for ending itself before its process is killed. */
const KILL_TIMEOUT = 3_000;
const POLL = 10;

/** A VM whose process lives and does not answer: it is being made, hangs, or belongs to a program without control socket. */
export interface SilentVm {
  readonly name: string;
  readonly pid: number;
  readonly state: 'unreachable';
  /** Why. */
  readonly message: string;
}

/** What a request takes besides its body. */
export interface RequestOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface ListOptions extends RequestOptions {
  /** Milliseconds that each VM has for its answer. Default 1000. */
  readonly timeout?: number | undefined;
}

interface Exchange extends RequestOptions {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly body?: object;
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
    const headers = { connection: 'upgrade', upgrade: UPGRADE };
    const answer = await this.#open({ ...options, method: 'GET', path: '/console', headers });
    if ('response' in answer) throw await this.#refused(answer.response);
    const { socket, head } = answer;
    return new ConsoleClient(socket, head);
  }

  /** The error for a stream of {@link logs} that did not come to its end. */
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

  async #open({ method, path, body, headers = {}, signal }: Exchange): Promise<Answer> {
    try {
      using socketPath = SocketPath.short(this.#entry.path);
      const text = body === undefined ? '' : JSON.stringify(body);
      return await new Promise<Answer>((resolve, reject) => {
        request({
          socketPath: socketPath.path,
          method,
          path: `${API}${path}`,
          agent: false,
          headers: { ...headers, 'content-length': Buffer.byteLength(text) },
          ...(signal === undefined ? {} : { signal }),
        })
          .on('error', reject)
          .on('response', (response) => resolve({ response }))
          .on('upgrade', (_, socket, head) => resolve({ socket, head }))
          .end(text);
      });
    } catch (error) {
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
    const { code, message } = result.output.error;
    return isVmmErrorCode(code)
      ? new VmmError(code, message)
      : new VmmError('CONTROL_FAILED', `${message} [${code}]`);
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
    return this.#failed(`does not answer: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
  }

  #failed(what: string, cause?: unknown): VmmError {
    return new VmmError('CONTROL_FAILED', `the VM "${this.name}" (pid ${this.pid}) ${what}`, { cause });
  }
}

/**
 * The VMs of this user, by name. All are asked at once; what killed ones left is removed.
 *
 * @throws VmmError `RUNTIME_DIRECTORY`
 */
export async function list(options: ListOptions = {}): Promise<(VmInfo | SilentVm)[]> {
  const found = await Promise.all(
    runtimeEntries().map(async (entry) => {
      const { name, holder } = entry;
      const limit = AbortSignal.timeout(options.timeout ?? LIST_TIMEOUT);
      const signal = options.signal === undefined ? limit : AbortSignal.any([limit, options.signal]);
      try {
        return await ControlClient.of(entry).info({ signal });
      } catch (error) {
        options.signal?.throwIfAborted();
        if (!isAlive(holder)) return undefined;
        const message = error instanceof Error ? error.message : String(error);
        return { name, pid: holder.pid, state: 'unreachable' as const, message };
      }
    }),
  );
  return found.filter((each) => each !== undefined);
}

function isVmmErrorCode(code: string): code is VmmErrorCode {
  return (VMM_ERROR_CODES as readonly string[]).includes(code);
}
