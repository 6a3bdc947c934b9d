import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Vcpu } from '@vmm/hypervisor';
import { RuntimeDirectory } from '../src/runtime-directory.ts';
import type { VmParts } from '../src/vm-parts.ts';

/** A vCPU that executes nothing, takes a while for everything, and checks that what is asked of it makes sense. */
class FakeVcpu {
  state: 'none' | 'running' | 'paused' = 'none';
  #end: () => void = () => undefined;
  #failed: ((error: Error) => void) | undefined;

  async start(): Promise<void> {
    if (this.state !== 'none') throw new Error('started twice');
    this.state = 'running';
    await new Promise<void>((resolve, reject) => {
      this.#end = resolve;
      this.#failed = reject;
    });
    this.state = 'none';
  }

  async pause(): Promise<void> {
    await turns(2);
    if (this.state === 'running') this.state = 'paused';
  }

  resume(): void {
    if (this.state === 'paused') this.state = 'running';
  }

  async stop(): Promise<void> {
    await turns(2);
    this.#end();
    await turns(1);
  }

  fail(message: string): void {
    this.#failed?.(new Error(message));
  }

  instructionCount(): number {
    return 0;
  }
}

/** Devices and machine of a VM that has none. */
export class FakeParts implements Disposable {
  readonly vcpu: FakeVcpu = new FakeVcpu();
  /** Steps that were taken twice, or before those that they need. */
  readonly faults: string[] = [];
  /** What has been given back, in order. */
  readonly released: string[] = [];
  devicesPaused = false;
  clockStopped = false;
  readonly parts: VmParts;
  readonly #scratch: string = mkdtempSync(join(tmpdir(), 'vmm-run-'));

  constructor() {
    const once = (name: string): void => {
      if (this.released.includes(name)) this.faults.push(`${name} twice`);
      this.released.push(name);
    };
    const still = (what: string): void => {
      if (this.vcpu.state === 'running') this.faults.push(`${what} while a vCPU runs`);
    };
    const machine = {
      memory: {},
      vm: { [Symbol.asyncDispose]: () => turns(1).then(() => once('vm')) },
      serial: { flush: () => undefined },
      stopClock: () => {
        still('clock stopped');
        if (this.clockStopped) this.faults.push('clock stopped twice');
        this.clockStopped = true;
      },
      startClock: () => void (this.clockStopped = false),
      setPowerButton: () => undefined,
      [Symbol.dispose]: () => once('machine'),
    };
    const devices = {
      agentPort: { guestOpen: false },
      agentSocket: undefined,
      attached: [],
      exitCode: undefined,
      sinceConsole: () => undefined,
      pause: async () => {
        still('devices paused');
        await turns(2);
        this.devicesPaused = true;
      },
      resume: () => void (this.devicesPaused = false),
      finish: () => turns(1),
      reset: () => {
        if (this.vcpu.state !== 'none') this.faults.push('devices reset before the vCPUs had ended');
      },
      [Symbol.asyncDispose]: () => turns(1).then(() => once('devices')),
    };
    const directory = withRuntime(this.#scratch, () => RuntimeDirectory.claim('fake'));
    const parts = {
      config: { name: 'fake', cpus: 1, memory: 4096, disks: [], kernel: '/kernel' },
      hypervisor: { name: 'wasm', arch: 'aarch64' },
      machine,
      console: { onPanic: () => undefined },
      devices,
      directory,
      vcpus: [this.vcpu as unknown as Vcpu],
      cmdline: '',
    };
    this.parts = parts as unknown as VmParts;
  }

  [Symbol.dispose](): void {
    this.parts.directory[Symbol.dispose]();
    rmSync(this.#scratch, { recursive: true, force: true });
  }
}

export async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

function withRuntime<T>(path: string, action: () => T): T {
  const before = process.env['XDG_RUNTIME_DIR'];
  process.env['XDG_RUNTIME_DIR'] = path;
  try {
    return action();
  } finally {
    if (before === undefined) delete process.env['XDG_RUNTIME_DIR'];
    else process.env['XDG_RUNTIME_DIR'] = before;
  }
}
