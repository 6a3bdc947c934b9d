import { Broadcast, type Subscription } from './broadcast.ts';
import type { VmmState } from './lifecycle.ts';
import type { StopReason } from './stop-reason.ts';

/** What happens to a VM. */
export type VmmEvent =
  /** Its state is this; the first event of a subscription tells the state at that time. */
  | { readonly kind: 'state'; readonly state: VmmState }
  /** Somebody pressed the power button: {@link Vmm.shutdown}. */
  | { readonly kind: 'powerButton' }
  /** The machine starts again from its kernel: {@link Vmm.reset}. */
  | { readonly kind: 'reset' }
  /** The guest's kernel panicked with this message. */
  | { readonly kind: 'panic'; readonly message: string }
  /** It has ended: the last event. */
  | { readonly kind: 'stopped'; readonly reason: StopReason }
  /** The subscriber was too slow for so many events. */
  | { readonly kind: 'lost'; readonly count: number };

export interface SubscribeOptions {
  /** Ends the subscription; the iteration rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** States of a VM never are more than a pause and a resume away from being old news. */
const STATE_LIMIT = 64;

/** The events of one VM. Those who subscribe late get the state, and the end when it has come, first. */
export class VmmEvents {
  readonly #events = new Broadcast<VmmEvent>();
  readonly #states = new Broadcast<VmmState>();
  #state: VmmState = 'created';
  #end: VmmEvent | undefined;

  /** The VM is in this state from now on. */
  stateChanged(state: VmmState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#states.emit(state);
    this.#events.emit({ kind: 'state', state });
  }

  tell(event: Exclude<VmmEvent, { readonly kind: 'state' | 'stopped' | 'lost' }>): void {
    this.#events.emit(event);
  }

  /** Nothing happens to it any more. */
  stopped(reason: StopReason): void {
    this.#end = { kind: 'stopped', reason };
    this.#events.emit(this.#end);
    this.#events.end();
    this.#states.end();
  }

  events({ signal }: SubscribeOptions = {}): Subscription<VmmEvent> {
    return this.#events.subscribe({
      signal,
      first: [{ kind: 'state', state: this.#state }, ...(this.#end === undefined ? [] : [this.#end])],
      dropped: (count) => ({ kind: 'lost', count }),
    });
  }

  states({ signal }: SubscribeOptions = {}): Subscription<VmmState> {
    return this.#states.subscribe({ signal, first: [this.#state], limit: STATE_LIMIT });
  }
}
