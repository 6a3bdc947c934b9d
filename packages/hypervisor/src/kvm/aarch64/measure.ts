import type { KvmHost } from '../host.ts';
import type { KvmSystem } from '../system.ts';
import { aarch64VmType } from './hypervisor.ts';
import { Aarch64KvmVm } from './vm.ts';

const RAM = 0x8000_0000;
const MEMORY = 0x1000;
/** Where there is no memory: the guest ends with a store to it. */
const END = 0x1000_0000;

/** The way in and out of the guest should not count. */
const ITERATIONS = 50_000;
const PROGRAM = [
  0xd280_0000 | (ITERATIONS << 5), // movz x0, #ITERATIONS
  0xd100_0400, // 1: sub x0, x0, #1
  0xb5ff_ffe0, // cbnz x0, 1b
  0xb900_0020, // str w0, [x1]
];
const INSTRUCTIONS = 2 * ITERATIONS;

const ROUNDS = 3;

/** EL1h, interrupts masked. */
const PSTATE = 0x3c5n;

/**
 * How long an instruction of EL1 takes, in nanoseconds: the best of a few rounds of a loop.
 *
 * @throws HypervisorError when no VM can be made, Error when the guest does not come to its end
 */
export async function measureAarch64(host: KvmHost, system: KvmSystem): Promise<number> {
  const config = { vcpus: 1, maxMemory: MEMORY };
  await using vm = new Aarch64KvmVm({ host, system, config, type: aarch64VmType(system) }, []);
  const { bytes } = vm.mapMemory(RAM, MEMORY);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  for (const [index, word] of PROGRAM.entries()) view.setUint32(4 * index, word, true);
  const vcpu = vm.createVcpu(0);
  vcpu.setRegister('pstate', PSTATE);
  vcpu.setRegister('x1', BigInt(END));
  let best = Infinity;
  for (let round = 0; round < ROUNDS; round++) {
    vcpu.setRegister('pc', BigInt(RAM));
    const before = performance.now();
    const exit = vcpu.run();
    const elapsed = performance.now() - before;
    if (exit.reason !== 'mmio') {
      throw new Error(
        `a loop of EL1 ended in '${exit.reason}'${exit.reason === 'internalError' ? `: ${exit.message}` : ''}`,
      );
    }
    best = Math.min(best, elapsed);
  }
  return (best * 1e6) / INSTRUCTIONS;
}
