import { spawn } from 'node:child_process';
import type { Duplex } from 'node:stream';
import { agentProgram } from '../src/agent/program.ts';

/** The program that runs in guests, on this machine. */
export interface RunningAgent {
  readonly channel: Duplex;
  /** Ends it; answers its exit code. */
  readonly end: () => Promise<number | null>;
}

/** @throws Error when it was not built */
export function startAgentProgram(): RunningAgent {
  const program = agentProgram(process.arch === 'x64' ? 'x86_64' : 'aarch64');
  if (program === undefined)
    throw new Error('the agent was not built: node reference-vmm/scripts/build-agent.mjs');
  const child = spawn(program, ['--fd', '3'], { stdio: ['ignore', 'ignore', 'inherit', 'pipe'] });
  const exited = new Promise<number | null>((resolve) => child.on('exit', (code) => resolve(code)));
  const channel = child.stdio[3] as Duplex;
  return {
    channel,
    end: async () => {
      channel.destroy();
      return await exited;
    },
  };
}
