export * from './errors.ts';
export * from './format.ts';
export * from './reader.ts';
export * from './tree.ts';
export { cells64 } from './value.ts';
export type { FdtValue } from './value.ts';
export * from './writer.ts';
