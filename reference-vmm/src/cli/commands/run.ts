import { constants } from 'node:os';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import type { VmBuilder } from '../../builder.ts';
import { parseDuration } from '../../config.ts';
import { VmmError, isErrno } from '../../errors.ts';
import type { StopReason, Vmm } from '../../vmm.ts';
import { type ConsoleTarget, connectConsole, parseConsole } from '../console.ts';
import { EXIT_SIGNAL, EXIT_TIMEOUT, EXIT_USAGE, EXIT_VMM } from '../exit-codes.ts';
import { describeError, say } from '../messages.ts';
import { EscapeFilter, RawTerminal } from '../terminal.ts';
import { EXAMPLES, type RunOptions, builderFor, declareOptions } from './run-options.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export function registerRun(program: Command): void {
  const command = program
    .command('run')
    .description('boot a VM in the foreground: a shell, a command, or your own kernel')
    .argument('[command...]', 'program and arguments for the built-in guest, after --');
  declareOptions(command)
    .addHelpText('after', EXAMPLES)
    .action(async (command: string[], options: RunOptions) => {
      process.exitCode = await run(command, options);
    });
}

async function run(command: readonly string[], options: RunOptions): Promise<number> {
  let builder: VmBuilder;
  let timeout: number | undefined;
  let target: ConsoleTarget | undefined;
  try {
    builder = builderFor(command, options);
    target = parseConsole(options.console);
    timeout = options.timeout === undefined ? undefined : parseDuration(options.timeout);
  } catch (error) {
    say(describeError(error));
    return EXIT_USAGE;
  }
  const ending = new Ending();
  if (timeout !== undefined) ending.after(timeout, options.timeout ?? '');
  try {
    await using vm = await ending.race(builder.build());
    using connection = target === undefined ? undefined : await connectConsole(vm, target);
    const code = await drive(vm, options.debug === true, connection !== undefined, ending);
    if (connection !== undefined) await ending.race(connection.done());
    return code;
  } catch (error) {
    if (error === ending.cause) return ending.code;
    say(describeError(error));
    return error instanceof VmmError && error.code === 'INVALID_CONFIG' ? EXIT_USAGE : EXIT_VMM;
  } finally {
    ending.dispose();
  }
}

/** What ends a run from outside: a signal or the timeout. */
class Ending {
  code = 0;
  readonly cause: Error = new Error('ended from outside');
  readonly #ended: Promise<never>;
  #reject: (cause: Error) => void = () => undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #handlers: (() => void)[] = [];

  constructor() {
    this.#ended = new Promise((_, reject) => {
      this.#reject = reject;
    });
    this.#ended.catch(() => undefined);
    for (const signal of SIGNALS) {
      const handler = (): void => this.end(EXIT_SIGNAL + constants.signals[signal], `ended by ${signal}`);
      process.on(signal, handler);
      this.#handlers.push(() => process.off(signal, handler));
    }
  }

  after(milliseconds: number, text: string): void {
    this.#timer = setTimeout(() => this.end(EXIT_TIMEOUT, `timeout of ${text} ran out`), milliseconds);
  }

  end(code: number, message: string | undefined): void {
    this.code = code;
    if (message !== undefined) say(message);
    this.#reject(this.cause);
  }

  race<T>(work: Promise<T>): Promise<T> {
    work.catch(() => undefined);
    return Promise.race([work, this.#ended]);
  }

  dispose(): void {
    clearTimeout(this.#timer);
    for (const remove of this.#handlers) remove();
  }
}

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

async function drive(vm: Vmm, debug: boolean, connected: boolean, ending: Ending): Promise<number> {
  if (vm.streams !== undefined) {
    const { stdin, stdout, stderr } = vm.streams;
    const kernelLog = new KernelLog(debug);
    vm.console.on('data', (bytes: Uint8Array) => kernelLog.push(bytes));
    const output = Promise.all([
      pipeline(stdout, process.stdout, { end: false }),
      pipeline(stderr, process.stderr, { end: false }),
    ]);
    output.catch((error: unknown) => {
      if (isErrno(error, 'EPIPE')) ending.end(EXIT_SIGNAL + constants.signals.SIGPIPE, undefined);
      else ending.end(EXIT_VMM, `standard output: ${describeError(error)}`);
    });
    if (process.stdin.isTTY) stdin.end();
    else pipeline(process.stdin, stdin).catch(() => undefined);
    vm.start();
    const reason = await ending.race(vm.stopped);
    await ending.race(output);
    process.stdin.destroy();
    if (reason.kind === 'panic' || reason.kind === 'failed') kernelLog.print();
    return conclude(vm, reason);
  }
  if (!connected) return conclude(vm, await interact(vm, ending));
  vm.start();
  return conclude(vm, await ending.race(vm.stopped));
}

async function interact(vm: Vmm, ending: Ending): Promise<StopReason> {
  vm.console.on('data', (bytes: Uint8Array) => {
    if (process.stdout.write(bytes)) return;
    vm.console.pause();
    process.stdout.once('drain', () => vm.console.resume());
  });
  const detach = process.stdin.isTTY ? attachTerminal(vm, ending) : attachPipe(vm);
  try {
    vm.start();
    return await ending.race(vm.stopped);
  } finally {
    detach();
    process.stdin.destroy();
  }
}

function attachPipe(vm: Vmm): () => void {
  pipeline(process.stdin, vm.console, { end: false }).catch(() => undefined);
  return () => undefined;
}

function attachTerminal(vm: Vmm, ending: Ending): () => void {
  say('press Ctrl-] twice to leave');
  const terminal = new RawTerminal(process.stdin);
  const filter = new EscapeFilter(
    (bytes) => vm.console.write(bytes),
    () => ending.end(0, 'left; the VM is gone'),
  );
  process.stdin.on('data', (bytes: Buffer) => filter.push(bytes));
  const resize = (): void => vm.resizeConsole(process.stdout.columns, process.stdout.rows);
  if (process.stdout.isTTY) {
    resize();
    process.stdout.on('resize', resize);
  }
  return () => {
    process.stdout.off('resize', resize);
    filter.dispose();
    terminal[Symbol.dispose]();
  };
}

function conclude(vm: Vmm, reason: StopReason): number {
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
      return 0;
  }
}
