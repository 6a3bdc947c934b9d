export * from './errors.ts';
export type * from './exit.ts';
export type * from './vcpu.ts';
export type * from './vm.ts';
export type * from './hypervisor.ts';
export * from './aarch64.ts';
export type * from './x86.ts';
