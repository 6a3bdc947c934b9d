import { constants } from 'node:os';
import { finished, pipeline } from 'node:stream/promises';
import { isErrno } from '../errors.ts';
import type { StopReason } from '../stop-reason.ts';
import type { Vmm } from '../vmm.ts';
import type { Ending } from './ending.ts';
import { EXIT_SIGNAL, EXIT_VMM } from './exit-codes.ts';
import { type Console, show, typeInto } from './interaction.ts';
import { describeError, say } from './messages.ts';
import { followSize, terminalSize } from './terminal-size.ts';

const KERNEL_LOG_LIMIT = 256 * 1024;

/** What the guest's kernel says while a command runs: told when it matters, or at once for debugging. */
class KernelLog {
  readonly #live: boolean;
  #chunks: Uint8Array[] = [];
  #size = 0;

  constructor(live: boolean) {
    this.#live = live;
  }

  push(bytes: Uint8Array): void {
    if (this.#live) {
      process.stderr.write(bytes);
      return;
    }
    this.#chunks.push(bytes);
    this.#size += bytes.length;
    while (this.#size > KERNEL_LOG_LIMIT) this.#size -= this.#chunks.shift()!.length;
  }

  print(): void {
    for (const chunk of this.#chunks) process.stderr.write(chunk);
    this.#chunks = [];
  }
}

/**
 * What of standard input goes to the guest: all of it, nothing, or what fits: a terminal to a terminal, and to a command
 * without one only what is no terminal.
 */
export type InputMode = 'always' | 'never' | 'fitting';

/** How a VM in the foreground is driven. */
export interface ForegroundOptions {
  /** Kernel messages of a VM with a command go to standard error at once. */
  readonly debug: boolean;
  /** The console is elsewhere. */
  readonly connected: boolean;
  /** What the guest prints as its output; standard error where standard output has another use. */
  readonly output: NodeJS.WriteStream;
  readonly input: InputMode;
  /** Lets the guest run, once everything is connected. */
  readonly begin: () => Promise<void> | void;
}

/** Lets a VM run, connects it with this process's standard streams, and tells how it ended. */
export async function drive(vm: Vmm, options: ForegroundOptions, ending: Ending): Promise<StopReason> {
  if (vm.streams !== undefined) return await driveCommand(vm, options, ending);
  if (!options.connected) return await interact(vm, options, ending);
  await options.begin();
  return await ending.race(vm.stopped);
}

async function driveCommand(
  vm: Vmm,
  { debug, output: target, input, begin }: ForegroundOptions,
  ending: Ending,
): Promise<StopReason> {
  const { stdin, stdout, stderr } = vm.streams!;
  const kernelLog = new KernelLog(debug);
  vm.console.on('data', (bytes: Uint8Array) => kernelLog.push(bytes));
  const output = Promise.all([
    pipeline(stdout, target, { end: false }),
    pipeline(stderr, process.stderr, { end: false }),
  ]);
  output.catch((error: unknown) => {
    if (isErrno(error, 'EPIPE')) ending.end(EXIT_SIGNAL + constants.signals.SIGPIPE, undefined);
    else ending.end(EXIT_VMM, `standard output: ${describeError(error)}`);
  });
  if (input === 'never' || (input === 'fitting' && process.stdin.isTTY)) stdin.end();
  else pipeline(process.stdin, stdin).catch(() => undefined);
  await begin();
  const reason = await ending.race(vm.stopped);
  await ending.race(output);
  process.stdin.destroy();
  if (reason.kind === 'panic' || reason.kind === 'failed') kernelLog.print();
  return reason;
}

async function interact(
  vm: Vmm,
  { output, input, begin }: ForegroundOptions,
  ending: Ending,
): Promise<StopReason> {
  show(vm.console, output);
  const shown = finished(vm.console, { writable: false }).catch(() => undefined);
  const console = {
    stream: vm.console,
    resize: (columns: number, rows: number) => vm.resizeConsole(columns, rows),
  };
  const detach =
    input === 'never' ? watchSize(console) : typeInto(console, () => ending.end(0, 'left; the VM is gone'));
  try {
    await begin();
    const reason = await ending.race(vm.stopped);
    await ending.race(shown);
    return reason;
  } finally {
    detach();
    process.stdin.destroy();
  }
}

/** A console that is only looked at has a size all the same. @returns what ends it */
function watchSize(console: Console): () => void {
  const tell = ({ columns, rows }: { columns: number; rows: number }): void => console.resize(columns, rows);
  const size = terminalSize();
  if (size !== undefined) tell(size);
  return followSize(tell);
}

/** Tells how a VM ended, and answers the exit code. */
export function conclude(vm: Vmm, reason: StopReason): number {
  switch (reason.kind) {
    case 'exited':
      return reason.code;
    case 'shutdown':
      say('the guest powered off');
      return 0;
    case 'reset':
      say('the guest rebooted; the VM ends here');
      return 0;
    case 'panic':
      say(`the guest's kernel panicked: ${reason.message}`);
      return EXIT_VMM;
    case 'failed':
      say(`the VM failed: ${reason.message}`);
      if (vm.hypervisor === 'kvm') say('whether KVM runs stock guests here, reference-vmm doctor tells');
      return EXIT_VMM;
    case 'stopped':
      say('the VM was stopped');
      return 0;
  }
}
