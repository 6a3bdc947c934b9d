import * as v from 'valibot';
import type { ExecOptions } from '../agent/guest-process.ts';
import type { CommandExit } from '../agent/messages.ts';
import { type TerminalSize, terminalSizeSchema } from './schema.ts';

/** Payload of the frame `request` of `POST /v1/exec`: as `vm.exec()` takes it. */
export interface ExecRequest {
  /** Program and arguments; no shell is between. */
  readonly argv: readonly string[];
  /** Added to the agent's environment. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** `env` is the whole environment. Default false. */
  readonly ownEnvironment?: boolean | undefined;
  /** Default: the user's home directory. */
  readonly cwd?: string | undefined;
  /** A name, `UID`, or `UID:GID`. Default root. */
  readonly user?: string | undefined;
  /** Size of the terminal that the command is to have. Default none. */
  readonly tty?: TerminalSize | undefined;
  /** Milliseconds, 1 to 2^31-1, after which it is killed. Default none. */
  readonly timeout?: number | undefined;
}

const MAXIMUM_DURATION = 2 ** 31 - 1;

export const execRequestSchema: v.GenericSchema<unknown, ExecRequest> = v.strictObject({
  argv: v.pipe(v.array(v.string()), v.minLength(1)),
  env: v.optional(v.record(v.string(), v.string())),
  ownEnvironment: v.optional(v.boolean()),
  cwd: v.optional(v.string()),
  user: v.optional(v.string()),
  tty: v.optional(terminalSizeSchema),
  timeout: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(MAXIMUM_DURATION))),
});

function isSignalName(name: unknown): name is NodeJS.Signals {
  return typeof name === 'string' && /^SIG[A-Z0-9]{1,12}$/.test(name);
}

/** Payload of the frame `exit` of a command: `{"code": 0}` or `{"signal": "SIGTERM"}`. */
export const commandExitSchema: v.GenericSchema<unknown, CommandExit> = v.union([
  v.strictObject({ code: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(255)) }),
  v.strictObject({ signal: v.custom<NodeJS.Signals>(isSignalName) }),
]);

/** Query of `/v1/files`: an absolute path of the guest. */
export const filesQuerySchema: v.GenericSchema<unknown, { readonly path: string }> = v.strictObject({
  path: v.string(),
});

/** Answer to `PUT /v1/files`: what was written. */
export interface FilesReport {
  readonly entries: number;
  /** Of files' contents. */
  readonly bytes: number;
}

export const filesReportSchema: v.GenericSchema<unknown, FilesReport> = v.object({
  entries: v.number(),
  bytes: v.number(),
});

const DEFAULT_SIZE: TerminalSize = { columns: 80, rows: 24 };

/** What a command's options are as a request. */
export function execRequest(argv: readonly string[], options: ExecOptions): ExecRequest {
  const { env, ownEnvironment, cwd, user, tty, timeout } = options;
  return {
    argv,
    env,
    ownEnvironment,
    cwd,
    user,
    tty: tty === true ? DEFAULT_SIZE : tty === false ? undefined : tty,
    timeout,
  };
}

/** And back. */
export function execOptions(request: ExecRequest): ExecOptions {
  const { env, ownEnvironment, cwd, user, tty, timeout } = request;
  return {
    ...(env === undefined ? {} : { env }),
    ...(ownEnvironment === undefined ? {} : { ownEnvironment }),
    ...(cwd === undefined ? {} : { cwd }),
    ...(user === undefined ? {} : { user }),
    ...(tty === undefined ? {} : { tty }),
    ...(timeout === undefined ? {} : { timeout }),
  };
}
