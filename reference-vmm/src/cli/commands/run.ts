import { constants } from 'node:os';
import { pipeline } from 'node:stream/promises';
import { type Command, Option } from 'commander';
import { VmBuilder } from '../../builder.ts';
import { parseDisk, parseDuration, parseSize } from '../../config.ts';
import { VmmError, isErrno } from '../../errors.ts';
import type { HypervisorChoice } from '../../hypervisors.ts';
import type { Architecture, BootProtocol, CpuTemplate, IrqChipMode } from '../../machine/machine.ts';
import { DEFAULT_CMDLINES } from '../../machine/platform.ts';
import type { StopReason, Vmm } from '../../vmm.ts';
import { EXIT_SIGNAL, EXIT_TIMEOUT, EXIT_USAGE, EXIT_VMM } from '../exit-codes.ts';
import { describeError, say } from '../messages.ts';
import { EscapeFilter, RawTerminal } from '../terminal.ts';

interface RunOptions {
  readonly name?: string;
  readonly hypervisor: HypervisorChoice;
  readonly arch?: Architecture;
  readonly irqchip: IrqChipMode;
  readonly cpu: CpuTemplate;
  readonly bootProtocol?: BootProtocol;
  readonly cpus: string;
  readonly memory: string;
  readonly kernel?: string;
  readonly initrd?: string;
  readonly disk: readonly string[];
  readonly cmdline?: string;
  readonly timeout?: string;
  readonly debug?: boolean;
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

const EXAMPLES = `
Examples:
  reference-vmm run                                    a busybox shell on Debian's kernel
  reference-vmm run -- sh -c 'echo hi; exit 7'         one command; its output and exit code
  tar c . | reference-vmm run -- tar t                 standard input goes to the command
  reference-vmm run -d disk.img,ro -- mount -o ro /dev/vda /mnt
  reference-vmm run -k Image --initrd initrd.cpio -p 'console=ttyAMA0'
  reference-vmm run --hypervisor kvm -c 4 -m 4G

Exit code: the guest command's own; 126 not executable, 127 not found in the guest; 2 wrong usage;
124 --timeout ran out; 125 the VMM or the guest's kernel failed; 128+n ended by signal n.`;

export function registerRun(program: Command): void {
  program
    .command('run')
    .description('boot a VM in the foreground: a shell, a command, or your own kernel')
    .argument('[command...]', 'program and arguments for the built-in guest, after --')
    .option('-n, --name <name>', 'name of the VM (default: vm-<pid>-1)')
    .addOption(
      new Option('--hypervisor <name>', 'KVM, the software hypervisor, or KVM where it can run stock guests')
        .choices(['auto', 'kvm', 'wasm'])
        .default('auto'),
    )
    .addOption(
      new Option(
        '--arch <name>',
        "architecture of the guest (default: the kernel's or the hypervisor's)",
      ).choices(['x86_64', 'aarch64']),
    )
    .option('-c, --cpus <count>', 'number of virtual CPUs', '1')
    .option('-m, --memory <size>', 'guest memory: MiB, or with K, M or G', '256M')
    .option(
      '-k, --kernel <file>',
      "kernel: arm64 Image, x86-64 bzImage or ELF (default: Debian's cloud kernel)",
    )
    .option('--initrd <file>', 'initial RAM filesystem for --kernel')
    .option('-d, --disk <file[,ro]>', 'raw disk image; may be given several times', collect, [])
    .option('-p, --cmdline <text>', `kernel command line (default: ${defaultCmdlines()})`)
    .addOption(
      new Option('--irqchip <where>', 'x86-64: I/O APIC in the kernel or in this process')
        .choices(['kernel', 'split'])
        .default('kernel'),
    )
    .addOption(
      new Option('--cpu <template>', "x86-64: the host's CPUID, or what many hosts have in common")
        .choices(['host', 'portable'])
        .default('host'),
    )
    .addOption(
      new Option(
        '--boot-protocol <name>',
        'x86-64: way into an ELF kernel (default: PVH, if the kernel knows it)',
      ).choices(['linux64', 'pvh']),
    )
    .option('--timeout <duration>', 'end the VM after 30, 30s, 500ms, 5m …')
    .option(
      '--debug',
      'report kernel messages, undefined instructions and unclaimed accesses on standard error',
    )
    .addHelpText('after', EXAMPLES)
    .action(async (command: string[], options: RunOptions) => {
      process.exitCode = await run(command, options);
    });
}

function defaultCmdlines(): string {
  return Object.entries(DEFAULT_CMDLINES)
    .map(([arch, cmdline]) => `${arch} "${cmdline}"`)
    .join(', ');
}

function collect(value: string, previous: readonly string[]): string[] {
  return [...previous, value];
}

async function run(command: readonly string[], options: RunOptions): Promise<number> {
  let builder: VmBuilder;
  let timeout: number | undefined;
  try {
    builder = builderFor(command, options);
    timeout = options.timeout === undefined ? undefined : parseDuration(options.timeout);
  } catch (error) {
    say(describeError(error));
    return EXIT_USAGE;
  }
  const ending = new Ending();
  if (timeout !== undefined) ending.after(timeout, options.timeout ?? '');
  try {
    await using vm = await ending.race(builder.build());
    return await drive(vm, options.debug === true, ending);
  } catch (error) {
    if (error === ending.cause) return ending.code;
    say(describeError(error));
    return error instanceof VmmError && error.code === 'INVALID_CONFIG' ? EXIT_USAGE : EXIT_VMM;
  } finally {
    ending.dispose();
  }
}

function builderFor(command: readonly string[], options: RunOptions): VmBuilder {
  const cpus = Number(options.cpus);
  const builder = new VmBuilder()
    .hypervisor(options.hypervisor)
    .irqchip(options.irqchip)
    .cpu(options.cpu)
    .cpus(cpus)
    .memoryMb(parseSize(options.memory) / (1024 * 1024));
  if (options.arch !== undefined) builder.arch(options.arch);
  if (options.bootProtocol !== undefined) builder.bootProtocol(options.bootProtocol);
  if (options.name !== undefined) builder.name(options.name);
  if (options.kernel !== undefined) builder.kernel(options.kernel);
  if (options.initrd !== undefined) builder.initrd(options.initrd);
  if (options.cmdline !== undefined) builder.cmdline(options.cmdline);
  for (const text of options.disk) {
    const { path, readOnly } = parseDisk(text);
    builder.blockDevice(path, { readOnly });
  }
  if (command.length > 0) builder.command(...command);
  builder.host({ progress: say, ...(options.debug === true ? { debug: say } : {}) });
  return builder;
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

async function drive(vm: Vmm, debug: boolean, ending: Ending): Promise<number> {
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
  return conclude(vm, await interact(vm, ending));
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
