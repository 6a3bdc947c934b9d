export { VmSuperioError } from './errors.ts';
export type { VmSuperioErrorCode } from './errors.ts';
export { Pl011 } from './pl011.ts';
export type { Pl011Options, Pl011State } from './pl011.ts';
export { Pl031 } from './pl031.ts';
export type { Pl031Options, Pl031State } from './pl031.ts';
export { UARTDR, UARTFR } from './pl011-registers.ts';
