import { jest } from '@jest/globals';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';

// Each test starts a process.
jest.setTimeout(120_000);

const packageFolder = fileURLToPath(new URL('../../..', import.meta.url));

const PRELUDE = `
const { Assembler } = await import('@vmm/hypervisor/compliance');
const { createWasmHypervisor } = await import('@vmm/hypervisor/wasm');
const vm = await createWasmHypervisor().createVm({ vcpus: 1, maxMemory: 65536 });
const vcpu = vm.createVcpu(0);
function load(write) {
  const a = new Assembler().movImmediate(1, 0x1000_0000);
  write(a);
  vm.mapMemory(0x8000_0000, 65536).bytes.set(a.bytes());
  vcpu.setRegister('pc', 0x8000_0000n);
}
const computing = (a) => a.store(4, 0, 1).label('again').b('again');
const waiting = (a) => a.store(4, 0, 1).label('again').wfi().b('again');
const exiting = (a) => a.label('again').store(4, 0, 1).b('again');
const off = (a) => a.store(4, 0, 1).movImmediate(0, 0x8400_0008).hvc(0);
`;

/** Runs a program, which finds the prelude's names, to its end. */
async function run(program: string): ReturnType<typeof execute> {
  return execute(PRELUDE + program);
}

async function execute(program: string): Promise<{ code: number; output: string; errors: string }> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      ['--input-type=module', '--eval', program],
      { cwd: packageFolder },
      (error, output, errors) => {
        const code = error === null ? 0 : Number(error.code);
        resolve({ code, output, errors });
      },
    );
  });
}

const programs = ['computing', 'waiting', 'exiting'] as const;

describe('a process with a VM', () => {
  it('lives as long as the guest and ends with it', async () => {
    const { code, output } = await run(`
      load(off);
      vcpu.start((exit) => (console.log(exit.reason), 'resume')).then(() => console.log('ended'));
    `);
    expect({ code, output }).toEqual({ code: 0, output: 'mmio\nsystemEvent\nended\n' });
  });

  it('lives while only doorbells keep it busy', async () => {
    const { code, output } = await run(`
      load((a) => a.movImmediate(3, 20).label('again').store(4, 0, 1).movImmediate(2, 100000)
        .label('delay').subImmediate(2, 2, 1).cbnz(2, 'delay').subImmediate(3, 3, 1).cbnz(3, 'again')
        .movImmediate(0, 0x8400_0008).hvc(0));
      let rung = 0;
      vm.createDoorbell(0x1000_0000, 4, undefined, () => rung++);
      vcpu.start(() => 'resume').then(() => console.log(rung > 0));
    `);
    expect({ code, output }).toEqual({ code: 0, output: 'true\n' });
  });

  it('ends when a VM without threads is forgotten', async () => {
    expect((await run('load(exiting); console.log(vcpu.run().reason);')).output).toBe('mmio\n');
  });

  it.each(programs)('ends by itself after the VM is disposed of, guest %s', async (guest) => {
    const { code, output } = await run(`
      load(${guest});
      const thread = vcpu.start(() => 'resume');
      setTimeout(async () => {
        await vm[Symbol.asyncDispose]();
        await thread;
        console.log('done');
      }, 100);
    `);
    expect({ code, output }).toEqual({ code: 0, output: 'done\n' });
  });

  it.each(programs)('ends on process.exit, guest %s', async (guest) => {
    const { code } = await run(`
      load(${guest});
      void vcpu.start(() => 'resume');
      setTimeout(() => process.exit(7), 100);
    `);
    expect(code).toBe(7);
  });

  it('ends on process.exit in a handler', async () => {
    expect((await run(`load(exiting); void vcpu.start(() => process.exit(8));`)).code).toBe(8);
  });

  it.each(programs)('ends on an uncaught exception, guest %s', async (guest) => {
    const { code, errors } = await run(`
      load(${guest});
      void vcpu.start(() => 'resume');
      setTimeout(() => { throw new Error('nobody catches this'); }, 100);
    `);
    expect(code).toBe(1);
    expect(errors).toContain('nobody catches this');
  });

  it('ends when a handler throws and nobody takes care of the promise', async () => {
    const { code, errors } = await run(`
      load(exiting);
      void vcpu.start(() => { throw new Error('thrown by the handler'); });
    `);
    expect(code).toBe(1);
    expect(errors).toContain('thrown by the handler');
  });

  it.each(programs)('ends when the worker that owns the VM is terminated, guest %s', async (guest) => {
    const owner = `(async () => {
      ${PRELUDE}
      load(${guest});
      void vcpu.start(() => 'resume');
      const { parentPort } = await import('node:worker_threads');
      setTimeout(() => parentPort.postMessage(0), 100);
    })()`;
    const { code, output, errors } = await execute(`
      import { Worker } from 'node:worker_threads';
      const worker = new Worker(${JSON.stringify(owner)}, { eval: true });
      worker.once('message', async () => {
        await worker.terminate();
        console.log('terminated');
      });
    `);
    expect({ code, output, errors }).toEqual({ code: 0, output: 'terminated\n', errors: '' });
  });
});
