import type { ConsolePort } from '@vmm/virtio-devices';
import { VmmError } from '../errors.ts';
import { Agent } from './agent.ts';
import type { AgentSocket } from './agent-socket.ts';
import { PortStream } from './port-stream.ts';

/** What a VM has to do with the agent in its guest. */
export interface AgentPlace {
  /** The console port `vmm.agent`. */
  readonly port: ConsolePort;
  /** Where there is a vsock device. */
  readonly sockets: AgentSocket | undefined;
  /**
   * Milliseconds that the guest has had since its driver opened the console, by which its user space begins; undefined before.
   * Pauses do not count.
   */
  sinceConsole(): number | undefined;
  /** The guest runs: only then does time pass for it. */
  running(): boolean;
  /** Why there can be no agent in this guest, where that is known. */
  readonly absent: string | undefined;
}

/** Milliseconds from the guest's console on within which an agent opens its port. */
const START_LIMIT = 5000;
/** Milliseconds for that since somebody asked, whatever the guest's age, and for the answer. */
const ANSWER_LIMIT = 5000;
/** Milliseconds from its start for a guest to have a console at all. */
const BOOT_LIMIT = 60_000;
const TICK = 20;
/** A process that was held up does not take it for the guest's time. */
const LONGEST_TICK = 100;

/** Attaches to the guest's agent when it is first asked for, and anew when a session ended. */
export class AgentLink {
  readonly #place: AgentPlace;
  #agent: Agent | undefined;
  #timer: NodeJS.Timeout | undefined;
  #started = performance.now();

  constructor(place: AgentPlace) {
    this.#place = place;
  }

  /** The guest begins to boot. */
  started(): void {
    this.#started = performance.now();
  }

  /** The guest was paused for so many milliseconds. */
  slept(milliseconds: number): void {
    this.#started += milliseconds;
  }

  /** Whatever is asked of it waits for the agent, or fails with `NO_AGENT` when there is none in time. */
  get agent(): Agent {
    if (this.#agent !== undefined && this.#agent.failure === undefined) return this.#agent;
    const stream = new PortStream(this.#place.port, this.#place.sockets);
    this.#agent = Agent.attach(stream);
    if (this.#place.absent === undefined) this.#watch(this.#agent, stream);
    else this.#agent.end(new VmmError('NO_AGENT', this.#place.absent));
    return this.#agent;
  }

  /** The guest is gone, for this reason. */
  end(reason: Error): void {
    clearInterval(this.#timer);
    this.#agent?.end(reason);
    this.#agent = undefined;
  }

  #watch(agent: Agent, stream: PortStream): void {
    clearInterval(this.#timer);
    let waited = 0;
    let unanswered = 0;
    let age = this.#place.sinceConsole();
    let last = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      const passed = Math.min(now - last, LONGEST_TICK);
      last = now;
      if (!this.#place.running()) return;
      waited += passed;
      if (stream.connected) unanswered += passed;
      if (age !== undefined) age += passed;
      else if (this.#place.sinceConsole() !== undefined) age = 0;
      const reason = this.#reason(stream.connected, waited, unanswered, age);
      if (reason !== undefined) agent.end(new VmmError('NO_AGENT', reason));
    }, TICK);
    this.#timer = timer;
    const done = (): void => clearInterval(timer);
    void agent.closed.then(done);
    agent.ready().then(done, () => undefined);
  }

  /** @param age milliseconds that the guest has had since its console */
  #reason(
    connected: boolean,
    waited: number,
    unanswered: number,
    age: number | undefined,
  ): string | undefined {
    const hint = 'the built-in guest has one; in another, start vmm-agent';
    if (connected)
      return unanswered > ANSWER_LIMIT
        ? 'what has the way to the agent open in the guest does not answer'
        : undefined;
    if (age === undefined)
      return performance.now() - this.#started > BOOT_LIMIT && waited > TICK
        ? `there is no agent in the guest, which has no console (${hint})`
        : undefined;
    // Young guests get their time; of old ones, whoever is going to start an agent has done so.
    return age > START_LIMIT && waited > TICK ? `there is no agent in the guest: ${hint}` : undefined;
  }
}
