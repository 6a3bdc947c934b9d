import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { CpioEntry } from '../guest/cpio.ts';
import { AGENT_FILE } from '../guest/init.ts';
import type { Architecture } from '../machine/machine.ts';

/** The agent for guests of an architecture, as an executable file; undefined where it was not built. */
export function agentProgram(arch: Architecture): string | undefined {
  const path = fileURLToPath(new URL(`../../agent/dist/${arch}/vmm-agent`, import.meta.url));
  return existsSync(path) ? path : undefined;
}

/** The agent as a file of the built-in guest; none where it was not built. */
export function agentFiles(arch: Architecture): readonly CpioEntry[] {
  const program = agentProgram(arch);
  if (program === undefined) return [];
  return [{ type: 'file', path: AGENT_FILE, data: readFileSync(program), mode: 0o755 }];
}
