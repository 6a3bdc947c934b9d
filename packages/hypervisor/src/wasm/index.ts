export * from './hypervisor.ts';
export type { WasmVm, UndefinedInstructionListener } from './vm.ts';
export type { WasmVcpu } from './vcpu.ts';
export type { UndefinedInstruction } from './undefined-instructions.ts';
export type { EngineHost, VcpuThread } from './host.ts';
export { runVcpuThread } from './thread.ts';
export type { VcpuThreadConfig } from './thread.ts';
