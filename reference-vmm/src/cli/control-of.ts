import { join } from 'node:path';
import { ConsoleHub } from '../control/console-hub.ts';
import { ConsoleLog } from '../control/log.ts';
import { ControlServer } from '../control/server.ts';
import { CONTROL_SOCKET } from '../control/socket-path.ts';
import { runtimeEntry } from '../runtime-directory.ts';
import type { Vmm } from '../vmm.ts';

/** The control socket and the console log of a VM that this process runs. */
export class Control implements AsyncDisposable {
  readonly hub: ConsoleHub;
  readonly server: ControlServer;

  private constructor(hub: ConsoleHub, server: ControlServer) {
    this.hub = hub;
    this.server = server;
  }

  /**
   * Call it before the VM starts.
   *
   * @param command also log what the command prints, and let viewers type into it: nobody else reads its streams
   */
  static async open(vm: Vmm, command: boolean): Promise<Control> {
    const { path } = runtimeEntry(vm.name);
    const { stdin, stdout, stderr } = (command ? vm.streams : undefined) ?? {};
    const hub = new ConsoleHub(new ConsoleLog(path), stdin ?? vm.console);
    for (const stream of [vm.console, stdout, stderr]) if (stream !== undefined) hub.tap(stream);
    return new Control(hub, await ControlServer.listen(vm, join(path, CONTROL_SOCKET), hub));
  }

  /** End the VM first: what clients wait for is its end. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
    this.hub.log[Symbol.dispose]();
  }
}
