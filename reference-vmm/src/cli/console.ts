import { createWriteStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { finished, pipeline } from 'node:stream/promises';
import { ConsolePty } from '@vmm/virtio-devices/node';
import { VmmError } from '../errors.ts';
import type { Vmm } from '../vmm.ts';
import { describeError, say } from './messages.ts';

/** Where the guest's console goes, besides this process's standard streams. */
export type ConsoleTarget =
  { readonly kind: 'pty'; readonly link?: string } | { readonly kind: 'file'; readonly path: string };

/**
 * Reads `stdio`, `pty`, `pty=LINK` or `file=PATH`; undefined is standard input and output.
 *
 * @throws VmmError `INVALID_CONFIG`
 */
export function parseConsole(text: string): ConsoleTarget | undefined {
  if (text === 'stdio') return undefined;
  if (text === 'pty') return { kind: 'pty' };
  const match = /^(pty|file)=(.+)$/s.exec(text);
  if (match === null) {
    throw new VmmError(
      'INVALID_CONFIG',
      `console ${JSON.stringify(text)}: stdio, pty, pty=LINK or file=PATH`,
    );
  }
  const path = match[2] ?? '';
  return match[1] === 'pty' ? { kind: 'pty', link: path } : { kind: 'file', path };
}

/** A VM's console that is connected; disposing of it hangs up at once. */
export interface ConsoleConnection extends Disposable {
  /** Resolves after the VM's end, when everything that it printed is in the file or was read (2 s at most). */
  done(): Promise<void>;
}

/**
 * Connects a VM's console; call it before the VM starts.
 *
 * @throws VirtioDeviceError, or an Error of the file system
 */
export async function connectConsole(vm: Vmm, target: ConsoleTarget): Promise<ConsoleConnection> {
  // A console that nobody reads any more is no reason for the guest to wait.
  const failed = (error: unknown): void => {
    say(`console: ${describeError(error)}`);
    vm.console.resume();
  };
  if (target.kind === 'file') {
    const output = createWriteStream('', { fd: await open(target.path, 'w') });
    const written = pipeline(vm.console, output).catch(failed);
    return { done: () => written, [Symbol.dispose]: () => output.destroy() };
  }
  const pty = new ConsolePty(target.link === undefined ? {} : { link: target.link });
  say(`the console is at ${target.link ?? pty.path}`);
  pty.on('resize', ({ columns, rows }: { columns: number; rows: number }) => vm.resizeConsole(columns, rows));
  pty.on('error', failed);
  pty.pipe(vm.console, { end: false });
  vm.console.pipe(pty);
  return {
    done: () => finished(pty, { readable: false }).catch(() => undefined),
    [Symbol.dispose]: () => pty.destroy(),
  };
}
