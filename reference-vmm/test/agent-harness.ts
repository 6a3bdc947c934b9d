import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { Agent } from '../src/agent/agent.ts';
import type { GuestProcess } from '../src/agent/guest-process.ts';
import { type RunningAgent, startAgentProgram } from './agent-program.ts';

/** The agent that the tests of a file share, on this machine, and a directory of theirs. */
export class AgentHarness {
  #agent: Agent | undefined;
  #program: RunningAgent | undefined;
  #scratch = '';

  private constructor() {
    beforeAll(async () => {
      this.#scratch = mkdtempSync(join(tmpdir(), 'vmm-agent-'));
      this.#program = startAgentProgram();
      this.#agent = Agent.attach(this.#program.channel);
      await this.#agent.ready();
    });
    afterAll(async () => {
      // The program has not failed on the way.
      expect(this.agent.failure).toBeUndefined();
      expect(await this.#program?.end()).toBe(0);
      rmSync(this.#scratch, { recursive: true, force: true });
    });
  }

  /** Call it at the top of a file of tests. */
  static use(): AgentHarness {
    return new AgentHarness();
  }

  get agent(): Agent {
    return this.#agent!;
  }

  get scratch(): string {
    return this.#scratch;
  }

  readonly sh = (script: string, options?: Parameters<Agent['exec']>[1]): GuestProcess =>
    this.agent.exec(['sh', '-c', script], options);
}

/** Of what a stream gives, the first line; what follows is for the next reader. */
export async function firstLine(stream: Readable): Promise<string> {
  let seen = '';
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    seen += String(chunk);
    if (seen.includes('\n')) break;
  }
  return seen.slice(0, seen.indexOf('\n'));
}

/** A VmmError with this code, and that of a system behind it. */
export function failure(code: string, cause?: string): unknown {
  return expect.objectContaining({
    name: 'VmmError',
    code,
    ...(cause === undefined ? {} : { cause: expect.objectContaining({ code: cause }) }),
  });
}
