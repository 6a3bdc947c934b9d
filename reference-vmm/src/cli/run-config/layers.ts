import { closeSync, openSync, readSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import * as v from 'valibot';
import { VmmError, isErrno, messageOf } from '../../errors.ts';
import { environmentName, readFlag, readSwitch } from './flags.ts';
import { type RunConfig, type RunKey, SETTINGS, runConfigSchema } from './schema.ts';

/** What one source says; what it does not say is not there. */
export type Layer = Partial<RunConfig>;

/** Of a configuration file, in bytes. */
const MAX_FILE = 1 << 20;

/**
 * Puts together what `run` was told. Flags win over the file, the file over the environment, and that over the defaults; a list
 * is taken from one of them, whole.
 *
 * @param flags as commander has them, by key
 * @param command what stands behind the options; it counts as a flag
 * @throws VmmError `INVALID_CONFIG` naming the key by its path, or the variable; `FILE_NOT_FOUND`, `FILE_UNREADABLE`
 */
export function effectiveConfig(
  flags: Readonly<Record<string, unknown>>,
  command: readonly string[],
  environment: NodeJS.ProcessEnv = process.env,
): RunConfig {
  const path = flags['config'] ?? environment[CONFIG_VARIABLE];
  const layers = [
    environmentLayer(environment),
    typeof path === 'string' && path !== '' ? fileLayer(path) : {},
    flagLayer(flags, command),
  ];
  return check(Object.assign({}, ...layers), '');
}

export const CONFIG_VARIABLE = 'REFERENCE_VMM_CONFIG';

function environmentLayer(environment: NodeJS.ProcessEnv): Layer {
  const layer: Layer = {};
  for (const setting of SETTINGS) {
    const variable = environmentName(setting);
    const text = variable === undefined ? undefined : environment[variable];
    if (variable === undefined || text === undefined || text === '') continue;
    const value = naming(variable, () => {
      if (setting.on === true) return readSwitch(text);
      return readFlag(setting, setting.list === true ? text.split('\n') : [text]);
    });
    Object.assign(layer, checkLayer({ [setting.key]: value }, `${variable}: `));
  }
  return layer;
}

function flagLayer(flags: Readonly<Record<string, unknown>>, command: readonly string[]): Layer {
  const raw: Partial<Record<RunKey, unknown>> = {};
  for (const setting of SETTINGS) {
    const given = flags[setting.key];
    if (given === undefined) continue;
    const texts = Array.isArray(given) ? given.map(String) : typeof given === 'string' ? [given] : [];
    raw[setting.key] = setting.on === true ? given : readFlag(setting, texts);
  }
  if (command.length > 0) raw.command = [...command];
  return checkLayer(raw, '');
}

/** Paths in the file are relative to it. */
function fileLayer(path: string): Layer {
  let input: unknown;
  const text = readText(path);
  if (text.length > MAX_FILE) throw new VmmError('INVALID_CONFIG', `${path} is longer than 1 MiB`);
  try {
    input = JSON.parse(text);
  } catch (error) {
    const reason = messageOf(error);
    throw new VmmError('INVALID_CONFIG', `${path} is not JSON: ${reason}`);
  }
  if (typeof input !== 'object' || input === null || Array.isArray(input))
    throw new VmmError('INVALID_CONFIG', `${path} is not a JSON object`);
  return resolvePaths(checkLayer(ofInspect(input), `${path}: `), dirname(resolve(path)));
}

function readText(path: string): string {
  try {
    return readStart(path, MAX_FILE + 1).toString('utf8');
  } catch (error) {
    if (isErrno(error, 'ENOENT'))
      throw new VmmError('FILE_NOT_FOUND', `config: there is no file ${path}`, { cause: error });
    throw new VmmError('FILE_UNREADABLE', `config: cannot read ${path}: ${String(error)}`, { cause: error });
  }
}

/** The first bytes of a file or a pipe. */
function readStart(path: string, limit: number): Buffer {
  const bytes = Buffer.alloc(limit);
  const file = openSync(path, 'r');
  try {
    let size = 0;
    for (let count = -1; count !== 0 && size < limit; size += count)
      count = readSync(file, bytes, size, limit - size, null);
    return bytes.subarray(0, size);
  } finally {
    closeSync(file);
  }
}

/** The configuration that `inspect --format json` tells, where it is given whole. */
function ofInspect(input: object): unknown {
  return 'config' in input && 'pid' in input && 'state' in input ? input.config : input;
}

/** Checks what is there, and adds no defaults. */
function checkLayer(input: unknown, where: string): Layer {
  const config = check(input, where);
  const given = typeof input === 'object' && input !== null ? Object.keys(input) : [];
  return Object.fromEntries(Object.entries(config).filter(([key]) => given.includes(key)));
}

function check(input: unknown, where: string): RunConfig {
  const result = v.safeParse(runConfigSchema, input);
  if (result.success) return result.output;
  throw new VmmError(
    'INVALID_CONFIG',
    `${where}${result.issues.map((issue) => describeIssue(issue)).join('; ')}`,
  );
}

function describeIssue({ path, message, issues }: v.BaseIssue<unknown>): string {
  // Of the kinds that a union has, the one that comes nearest tells more.
  const [inner] = issues ?? [];
  const deeper = inner?.path !== undefined;
  const keys = [...(path ?? []), ...(inner?.path ?? [])].map(({ key }) => key);
  const where = keys.reduce<string>(
    (text, key) =>
      typeof key === 'number' ? `${text}[${key}]` : `${text}${text === '' ? '' : '.'}${String(key)}`,
    '',
  );
  const what = deeper ? inner.message : message;
  return where === '' ? what : `${where}: ${what}`;
}

function naming<T>(variable: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof VmmError)) throw error;
    throw new VmmError(error.code, `${variable}: ${error.message}`, { cause: error });
  }
}

/** With absolute paths in place of those that are relative to a directory. */
export function resolvePaths<T extends Layer>(config: T, base: string): T {
  const at = (path: string): string => resolve(base, path);
  const { kernel, initrd, guestFiles, disk, net, share, vsock, console } = config;
  return {
    ...config,
    ...(kernel === undefined ? {} : { kernel: at(kernel) }),
    ...(initrd === undefined ? {} : { initrd: at(initrd) }),
    ...(guestFiles === undefined ? {} : { guestFiles: at(guestFiles) }),
    ...(disk === undefined
      ? {}
      : {
          disk: disk.map(({ overlay, ...each }) => ({
            ...each,
            path: at(each.path),
            ...(overlay === undefined
              ? {}
              : { overlay: overlay === 'memory' ? overlay : { file: at(overlay.file) } }),
          })),
        }),
    ...(net === undefined
      ? {}
      : { net: net.map((each) => (each.pcap === undefined ? each : { ...each, pcap: at(each.pcap) })) }),
    ...(share === undefined
      ? {}
      : { share: share.map((each) => ({ ...each, directory: at(each.directory) })) }),
    ...(vsock?.path === undefined ? {} : { vsock: { ...vsock, path: at(vsock.path) } }),
    ...(console === undefined ? {} : { console: resolveConsole(console, at) }),
  };
}

function resolveConsole(target: RunConfig['console'], at: (path: string) => string): RunConfig['console'] {
  if (target === 'stdio') return target;
  if (target.kind === 'file') return { ...target, path: at(target.path) };
  return target.link === undefined ? target : { ...target, link: at(target.link) };
}
