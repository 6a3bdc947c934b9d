import { execSimdFp, execSimdLoadStore } from './simd';
import { gicIrqPending } from './gic';
import { vcpuBlock } from './state';

export * from './layout';

export function engineInit(): void {
}

export function run(index: u32, budget: i32): u32 {
  const cpu = vcpuBlock(index);
  return u32(execSimdFp(cpu, 0)) + u32(execSimdLoadStore(cpu, 0)) + u32(gicIrqPending(cpu));
}
