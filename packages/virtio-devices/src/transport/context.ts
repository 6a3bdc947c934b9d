import type { Queue } from '@vmm/virtio-queue';
import type { ActivateContext } from '../device.ts';
import { now } from '../clock.ts';
import type { VirtioTransportCore } from './core.ts';

/** What an activation needs of the transport it belongs to. */
export interface ContextHost {
  readonly core: VirtioTransportCore;
  readonly queues: readonly (Queue | undefined)[];
  /** The activation has not ended. */
  readonly isCurrent: () => boolean;
  readonly raiseQueue: (index: number) => void;
  readonly raiseConfig: () => void;
  readonly fail: (reason: string, cause: unknown) => void;
  readonly defer: (task: () => void) => void;
}

export interface Activation {
  /** The device's side; does nothing any more when the activation has ended. */
  readonly context: ActivateContext;
  /** Something was put off with `renotify()` and has not run. */
  readonly pending: boolean;
  /** Runs now what `renotify()` put off. */
  catchUp(): void;
}

/** Turns of the event loop that {@link Activation.catchUp} stands for at most. */
const CATCH_UP_TURNS = 64;
/** Milliseconds after which it leaves the rest: a driver can make as much work as it likes, and reset again and again. */
const CATCH_UP_TIME = 20;

export function createActivation(host: ContextHost): Activation {
  const { core, isCurrent } = host;
  const { slots } = core;
  const queued = slots.map(() => false);
  const tasks = slots.map(({ index }) => (): void => {
    queued[index] = false;
    if (isCurrent()) core.serve(index);
  });
  const context: ActivateContext = {
    memory: core.memory,
    features: core.negotiated,
    queues: host.queues,
    renotify: (index) => {
      const task = tasks[index];
      if (task === undefined || queued[index] === true || !isCurrent()) return;
      queued[index] = true;
      host.defer(task);
    },
    interrupt: {
      queue: (index) => {
        if (isCurrent()) host.raiseQueue(index);
      },
      config: () => {
        if (isCurrent()) host.raiseConfig();
      },
      needsReset: (reason, cause) => {
        if (isCurrent()) host.fail(reason, cause);
      },
    },
  };
  const catchUp = (): void => {
    const end = now() + CATCH_UP_TIME;
    for (let turn = 0; turn < CATCH_UP_TURNS && queued.includes(true); turn++) {
      for (const { index } of slots) {
        if (queued[index] !== true) continue;
        tasks[index]!();
        if (now() >= end) return;
      }
    }
  };
  return {
    context,
    get pending() {
      return queued.includes(true);
    },
    catchUp,
  };
}
