import type { KvmHost } from '../host.ts';
import type { KvmSystem } from '../system.ts';
import type { X86Segment } from '../../x86.ts';
import { X86KvmVm } from './vm.ts';

const CODE = 0x1000;
const MEMORY = 0x4000;

/** mov ecx, {@link ITERATIONS}; 1: dec ecx; jnz 1b; hlt */
const ITERATIONS = 1000;
const PROGRAM = [0xb9, ITERATIONS & 0xff, ITERATIONS >> 8, 0, 0, 0x49, 0x75, 0xfd, 0xf4];
const INSTRUCTIONS = 2 * ITERATIONS;

const ROUNDS = 3;

const FLAT: X86Segment = {
  base: 0n,
  limit: 0xffff_ffff,
  selector: 0x10,
  type: 3,
  present: true,
  dpl: 0,
  db: true,
  s: true,
  l: false,
  g: true,
  avl: false,
  unusable: false,
};

/** CR0.PE */
const PROTECTED_MODE = 1n;

/**
 * How long an instruction of ring 0 takes, in nanoseconds: a loop in protected mode, the best of a few rounds. Some
 * microseconds on hardware, some milliseconds where KVM emulates it; the number of instructions bounds it.
 *
 * @throws HypervisorError when no VM can be made, Error when the guest does not come to its end
 */
export async function measureX86(host: KvmHost, system: KvmSystem): Promise<number> {
  await using vm = new X86KvmVm({ host, system, config: { vcpus: 1, maxMemory: MEMORY }, type: 0 });
  vm.mapMemory(0, MEMORY).bytes.set(PROGRAM, CODE);
  const vcpu = vm.createVcpu(0);
  const data = FLAT;
  vcpu.setSpecialRegisters({
    cs: { ...FLAT, selector: 8, type: 11 },
    ds: data,
    es: data,
    fs: data,
    gs: data,
    ss: data,
    cr0: vcpu.getSpecialRegisters().cr0 | PROTECTED_MODE,
  });
  vcpu.setRegister('rflags', 2n);
  let best = Infinity;
  for (let round = 0; round < ROUNDS; round++) {
    vcpu.setRegister('rip', BigInt(CODE));
    const before = performance.now();
    const exit = vcpu.run();
    const elapsed = performance.now() - before;
    if (exit.reason !== 'halt') {
      throw new Error(
        `a loop of ring 0 ended in '${exit.reason}'${exit.reason === 'internalError' ? `: ${exit.message}` : ''}`,
      );
    }
    best = Math.min(best, elapsed);
  }
  return (best * 1e6) / INSTRUCTIONS;
}
