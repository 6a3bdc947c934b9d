export * from './boot-cpu.ts';
export * from './device-tree.ts';
export * from './kernel-format.ts';
export * from './layout.ts';
export * from './loader.ts';
