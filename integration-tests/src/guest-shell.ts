import type { VmBuilder, Vmm } from '@vmm/reference-vmm';

/** A shell in the built-in guest that runs one command after the other. */
export class GuestShell implements AsyncDisposable {
  readonly vm: Vmm;
  /** What the guest printed and nobody waited for. */
  #output = '';
  #wake: () => void = () => undefined;

  private constructor(vm: Vmm) {
    this.vm = vm;
  }

  /** Boots a VM with what the builder has. */
  static async start(builder: VmBuilder): Promise<GuestShell> {
    const vm = await builder
      .command('sh', '-c', 'exec 2>&1; while read -r line; do eval "$line"; echo "$? =end="; done')
      .build();
    const shell = GuestShell.of(vm);
    vm.start();
    return shell;
  }

  /** The one in a VM that was restored from a snapshot of such a VM. */
  static of(vm: Vmm): GuestShell {
    const shell = new GuestShell(vm);
    vm.streams!.stdout.on('data', (bytes: Buffer) => {
      shell.#output += bytes.toString();
      shell.#wake();
    });
    void vm.stopped.then(() => shell.#wake());
    return shell;
  }

  /** Runs a command; answers what it printed, and its exit code where that is not 0. */
  async run(command: string): Promise<string> {
    this.vm.streams!.stdin.write(`${command}\n`);
    for (;;) {
      const match = /(?:^|\n)(\d+) =end=\n/.exec(this.#output);
      if (match !== null) {
        const text = this.#output.slice(0, match.index);
        this.#output = this.#output.slice(match.index + match[0].length);
        return match[1] === '0' ? text : `${text}\nexit ${match[1]}`.trimStart();
      }
      if (['stopping', 'stopped', 'failed'].includes(this.vm.state))
        throw new Error(`the guest has ended: ${this.#output}`);
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.vm[Symbol.asyncDispose]();
  }
}
