import { join } from 'node:path';
import { ConsoleHub } from './console-hub.ts';
import { ConsoleLog } from './log.ts';
import { ControlServer } from './server.ts';
import { CONTROL_SOCKET } from './socket-path.ts';
import { runtimeEntry } from '../runtime-directory.ts';
import type { Vmm } from '../vmm.ts';

/**
 * The control socket and the console log of a VM that this process runs: what the commands `list`, `pause`, `attach` … of the
 * same user speak to.
 *
 * @example
 * const vm = await new VmBuilder().name('demo').build();
 * await using control = await VmControl.open(vm);
 * vm.start();
 */
export class VmControl implements AsyncDisposable {
  readonly hub: ConsoleHub;
  readonly server: ControlServer;

  private constructor(hub: ConsoleHub, server: ControlServer) {
    this.hub = hub;
    this.server = server;
  }

  /**
   * Call it before the VM starts. The console flows from then on.
   *
   * @param options.command also log what the VM's command prints, and let viewers type into it, since nobody else has its
   *   streams; default false
   * @param options.config what `inspect` tells as the configuration
   * @throws VmmError `NO_SUCH_VM` for a VM that has ended; Error of the system
   */
  static async open(
    vm: Vmm,
    { command = false, config }: { readonly command?: boolean; readonly config?: object } = {},
  ): Promise<VmControl> {
    const { path } = runtimeEntry(vm.name);
    const { stdin, stdout, stderr } = (command ? vm.streams : undefined) ?? {};
    const hub = new ConsoleHub(new ConsoleLog(path), stdin ?? vm.console);
    for (const stream of [vm.console, stdout, stderr]) if (stream !== undefined) hub.tap(stream);
    return new VmControl(hub, await ControlServer.listen(vm, join(path, CONTROL_SOCKET), hub, { config }));
  }

  /** End the VM first: what clients wait for is its end. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
    this.hub.log[Symbol.dispose]();
  }
}
