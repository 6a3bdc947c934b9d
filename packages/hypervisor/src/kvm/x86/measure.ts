import type { KvmHost } from '../host.ts';
import type { KvmSystem } from '../system.ts';
import type { X86Segment } from '../../x86.ts';
import type { X86KvmVcpu } from './vcpu.ts';
import { X86KvmVm } from './vm.ts';

const CODE = 0x1000;
const MEMORY = 0x4000;

/** Rounds are repeated with the longer loop when the shorter one seems slow: on a busy machine the exit outweighs it. */
const ITERATIONS = [1000, 20_000] as const;
const INSTRUCTIONS_PER_ITERATION = 2;
const ROUNDS = 2;

/** mov ecx, iterations; 1: dec ecx; jnz 1b; hlt */
function program(iterations: number): Uint8Array {
  const code = new Uint8Array([0xb9, 0, 0, 0, 0, 0x49, 0x75, 0xfd, 0xf4]);
  new DataView(code.buffer).setUint32(1, iterations, true);
  return code;
}

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

/** Bit 1 of RFLAGS is always set (Intel SDM Vol. 1 §3.4.3). */
const RFLAGS = 2n;

/**
 * How long an instruction of ring 0 takes, in nanoseconds: a loop in protected mode, the best of a few rounds. Some
 * milliseconds on hardware, a tenth of a second where KVM emulates it; the number of instructions bounds it.
 *
 * @param enough time that no longer measurement is needed for
 * @throws HypervisorError when no VM can be made, Error when the guest does not come to its end
 */
export async function measureX86(host: KvmHost, system: KvmSystem, enough: number): Promise<number> {
  await using vm = new X86KvmVm({ host, system, config: { vcpus: 1, maxMemory: MEMORY }, type: 0 });
  const memory = vm.mapMemory(0, MEMORY);
  const vcpu = vm.createVcpu(0);
  vcpu.setSpecialRegisters({
    cs: { ...FLAT, selector: 8, type: 11 },
    ds: FLAT,
    es: FLAT,
    fs: FLAT,
    gs: FLAT,
    ss: FLAT,
    cr0: vcpu.getSpecialRegisters().cr0 | PROTECTED_MODE,
  });
  vcpu.setRegister('rflags', RFLAGS);
  let best = Infinity;
  for (const iterations of ITERATIONS) {
    memory.bytes.set(program(iterations), CODE);
    for (let round = 0; round < ROUNDS; round++) {
      const nanoseconds = timeRun(vcpu) / (INSTRUCTIONS_PER_ITERATION * iterations);
      best = Math.min(best, nanoseconds);
      if (best <= enough) return best;
    }
  }
  return best;
}

/** Nanoseconds until the guest halts. */
function timeRun(vcpu: X86KvmVcpu): number {
  vcpu.setRegister('rip', BigInt(CODE));
  const before = performance.now();
  const exit = vcpu.run();
  const elapsed = performance.now() - before;
  if (exit.reason === 'halt') return elapsed * 1e6;
  const why = exit.reason === 'internalError' ? `: ${exit.message}` : '';
  throw new Error(`a loop of ring 0 ended in '${exit.reason}'${why}`);
}
