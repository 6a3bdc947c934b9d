export * as aarch64 from './aarch64/index.ts';
export * from './command-line.ts';
export * from './errors.ts';
export type * from './source.ts';
export * as x86_64 from './x86_64/index.ts';
