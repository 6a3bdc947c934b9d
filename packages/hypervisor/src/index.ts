export * from './errors.ts';
export type * from './exit.ts';
export * from './vcpu.ts';
export type * from './vm.ts';
export type * from './hypervisor.ts';
