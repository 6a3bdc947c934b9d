import { Assembler } from '../compliance/index.ts';
import type { VcpuExit } from '../exit.ts';
import type { EngineHost, VcpuThread } from './host.ts';
import { createWasmHypervisor } from './index.ts';
import { createNodeHost } from './node/host.ts';
import type { WasmVcpu } from './vcpu.ts';

const RAM = 0x8000_0000;
const DEVICE = 0x1000_0000;
const PSCI_SYSTEM_OFF = 0x8400_0008;

/** A machine whose threads start when they are let. */
class LateThreads {
  readonly host: EngineHost;
  started = 0;
  #waiting: (() => void)[] = [];

  constructor() {
    const node = createNodeHost();
    this.host = {
      ...node,
      startThread: (config): VcpuThread => {
        let thread: VcpuThread | undefined;
        const ended = new Promise<void>((resolve) => this.#waiting.push(resolve)).then(() => {
          this.started++;
          thread = node.startThread(config);
          return thread.ended;
        });
        return { ended, terminate: () => thread?.terminate() };
      },
    };
  }

  start(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/** A guest that stores 1, 2, 3 … to the device. */
async function counter(threads: LateThreads, last?: number): Promise<AsyncDisposable & { vcpu: WasmVcpu }> {
  const vm = await createWasmHypervisor({ host: threads.host }).createVm({ vcpus: 1, maxMemory: 65536 });
  const vcpu = vm.createVcpu(0);
  const program = new Assembler().movImmediate(1, DEVICE).movz(0, 0).label('again').addImmediate(0, 0, 1);
  program.store(4, 0, 1);
  if (last === undefined) program.b('again');
  else program.subImmediate(2, 0, last).cbnz(2, 'again').movImmediate(0, PSCI_SYSTEM_OFF).hvc(0);
  vm.mapMemory(RAM, 65536).bytes.set(program.bytes());
  vcpu.setRegister('pc', BigInt(RAM));
  return { vcpu, [Symbol.asyncDispose]: () => vm[Symbol.asyncDispose]() };
}

function valueOf(exit: VcpuExit): number {
  return exit.reason === 'mmio' ? exit.value : NaN;
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
}

describe('a vCPU whose thread is still starting', () => {
  it('runs all the same, and goes on in its thread where it is', async () => {
    const threads = new LateThreads();
    await using guest = await counter(threads);
    const values: number[] = [];
    let inThread = 0;
    await guest.vcpu.start((exit) => {
      values.push(valueOf(exit));
      if (values.length === 100) threads.start();
      // What comes while the thread exists may still be the owner's doing; so much is not.
      if (threads.started > 0) inThread++;
      return inThread < 20_000 ? 'resume' : 'stop';
    });
    expect(values.slice(0, 100)).toEqual(Array.from({ length: 100 }, (_, index) => index + 1));
    expect(values.every((value, index) => value === index + 1)).toBe(true);
  });

  it('stands still while it is paused, and its state can be saved', async () => {
    const threads = new LateThreads();
    await using guest = await counter(threads);
    let last = 0;
    let reached: () => void = () => undefined;
    const some = async (): Promise<void> => {
      const until = last + 10;
      while (last < until) await new Promise<void>((resolve) => (reached = resolve));
    };
    const ended = guest.vcpu.start((exit) => {
      last = valueOf(exit);
      reached();
      return 'resume';
    });
    await some();
    await guest.vcpu.pause();
    const { x0 } = guest.vcpu.save().registers;
    expect(x0).toBe(BigInt(last));
    await turns();
    expect(guest.vcpu.getRegister('x0')).toBe(x0);
    guest.vcpu.resume();
    await some();
    await guest.vcpu.pause();
    // The thread comes while the vCPU is paused, and waits for its resumption.
    const paused = last;
    threads.start();
    await turns();
    expect(last).toBe(paused);
    guest.vcpu.resume();
    await some();
    await guest.vcpu.stop();
    await ended;
  });

  it('ends when the guest does, and rejects with what its handler throws', async () => {
    const threads = new LateThreads();
    await using guest = await counter(threads, 3);
    const seen: string[] = [];
    await guest.vcpu.start((exit) => {
      seen.push(exit.reason);
      if (exit.reason === 'systemEvent') threads.start();
      return 'resume';
    });
    expect(seen).toEqual(['mmio', 'mmio', 'mmio', 'systemEvent']);

    const others = new LateThreads();
    await using other = await counter(others);
    const error = new Error('thrown by the handler');
    await expect(
      other.vcpu.start(() => {
        others.start();
        throw error;
      }),
    ).rejects.toBe(error);
  });
});
