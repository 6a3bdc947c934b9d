import { test } from '@jest/globals';
import { kvmHere, loadCases } from './support.ts';

if (kvmHere()) {
  for (const [name, run] of await loadCases()) test(name, run);
}
