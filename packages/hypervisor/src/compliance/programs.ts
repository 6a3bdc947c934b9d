import { DATA, MMIO } from './machine.ts';
import type { GuestProgram } from './program.ts';

/** Counts up in memory at `DATA`, and in register `a`, for ever. */
export function counting(program: GuestProgram): void {
  program.set('a', 0).label('again').add('a', 1).store(8, 'a', DATA).jump('again');
}

/** Guests that set the word at `DATA` and are then at a certain place for ever. */
export const PLACES: Readonly<Record<string, (program: GuestProgram) => void>> = {
  computing: counting,
  waiting: (program) => program.set('a', 1).store(8, 'a', DATA).label('wait').wait().jump('wait'),
  exiting: (program) => {
    program.set('a', 1).store(8, 'a', DATA).label('again').store(4, 'a', MMIO).jump('again');
  },
};
