import { mkdtempSync, rmSync } from 'node:fs';
import { type Socket, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent } from '../src/agent/agent.ts';
import type { ExecOptions, GuestProcess } from '../src/agent/guest-process.ts';
import { ControlClient } from '../src/control/client.ts';
import { ConsoleHub } from '../src/control/console-hub.ts';
import { ConsoleLog } from '../src/control/log.ts';
import { ControlServer, type ControlTimeouts } from '../src/control/server.ts';
import { RuntimeDirectory } from '../src/runtime-directory.ts';
import { startAgentProgram } from './agent-program.ts';
import { FakeVmm } from './fake-vmm.ts';

/** A VM whose guest is this machine: it has nothing but an agent. */
class AgentVmm extends FakeVmm {
  readonly agent: Agent;

  constructor(name: string, agent: Agent) {
    super(name);
    this.agent = agent;
  }

  exec(argv: readonly string[], options: ExecOptions): GuestProcess {
    return this.agent.exec(argv, options);
  }
}

/** A VM's control socket, in a runtime directory of its own. */
export class TestServer implements AsyncDisposable {
  readonly vm: AgentVmm;
  readonly client: ControlClient;
  readonly path: string;
  /** Of this test. */
  readonly scratch: string;
  readonly #cleanups: (() => unknown)[];

  private constructor(vm: AgentVmm, path: string, scratch: string, cleanups: (() => unknown)[]) {
    this.vm = vm;
    this.client = ControlClient.connect(vm.name);
    this.path = path;
    this.scratch = scratch;
    this.#cleanups = cleanups;
  }

  /** @param agent of the guest; default the program that runs in guests */
  static async start(timeouts: ControlTimeouts = { close: 100 }, agent?: Agent): Promise<TestServer> {
    const previous = process.env['XDG_RUNTIME_DIR'];
    const scratch = mkdtempSync(join(tmpdir(), 'vmm-control-'));
    process.env['XDG_RUNTIME_DIR'] = scratch;
    const directory = RuntimeDirectory.claim('served');
    const program = agent === undefined ? startAgentProgram() : undefined;
    const vm = new AgentVmm('served', agent ?? Agent.attach(program!.channel));
    const hub = new ConsoleHub(new ConsoleLog(directory.path), vm.console);
    const path = join(directory.path, 'control.sock');
    const server = await ControlServer.listen(vm, path, hub, timeouts);
    return new TestServer(vm, path, scratch, [
      () => vm.end({ kind: 'stopped' }),
      () => vm.agent[Symbol.asyncDispose](),
      () => program?.end(),
      () => server[Symbol.asyncDispose](),
      () => hub.log[Symbol.dispose](),
      () => directory[Symbol.dispose](),
      () => rmSync(scratch, { recursive: true, force: true }),
      () => {
        if (previous === undefined) delete process.env['XDG_RUNTIME_DIR'];
        else process.env['XDG_RUNTIME_DIR'] = previous;
      },
    ]);
  }

  /** A connection that says what a test wants it to. */
  connect(): Socket {
    return connect(this.path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const cleanup of this.#cleanups) await cleanup();
  }
}
