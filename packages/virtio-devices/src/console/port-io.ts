import type { ActivateContext } from '../device.ts';
import { PIECES_PER_TURN } from '../drain.ts';
import { receiveQueue, transmitQueue } from './constants.ts';
import type { Port } from './port.ts';

/** Most bytes that a sink gets at once. */
const OUTPUT_CHUNK = 64 * 1024;
/** Bytes of output after which the rest waits for the next turn of the event loop. */
const OUTPUT_PER_TURN = 256 * 1024;

/** Moves input to the guest, as far as it lent buffers, and learns which buffers it gave back. */
export function deliverInput(context: ActivateContext, port: Port): void {
  const index = receiveQueue(port.id);
  const queue = context.queues[index];
  if (queue === undefined || !port.guestOpen) return;
  let budget = queue.size;
  for (;;) {
    for (let chain = queue.pop(); chain !== null; chain = queue.pop()) port.stock.push(chain);
    port.capacity = Math.max(port.capacity, port.stock.length);
    while (port.input.size > 0 && port.stock.length > 0 && budget > 0) {
      const chain = port.stock.shift()!;
      port.input.moveTo(chain.writer);
      const written = chain.writer.position;
      port.inputBytes += written;
      queue.addUsed(chain, written);
      budget--;
    }
    if (port.input.size > 0 && budget === 0) {
      context.renotify(index);
      break;
    }
    if (port.input.size === 0 && !(port.closing && !port.readToEnd)) {
      // Buffers that come back are of no interest until there is something to put into them.
      queue.disableNotifications();
      break;
    }
    if (!queue.enableNotifications()) break;
  }
  port.inputMoved();
  if (queue.needsInterrupt()) context.interrupt.queue(index);
}

/** Gives the guest's output to the port's sink until the queue is empty or the sink wants to wait. */
export function drainOutput(context: ActivateContext, port: Port): void {
  const index = transmitQueue(port.id);
  const queue = context.queues[index];
  if (queue === undefined || isPaused(port)) return;
  let chains = queue.size;
  let bytes = OUTPUT_PER_TURN;
  let pieces = PIECES_PER_TURN;
  do {
    queue.disableNotifications();
    for (;;) {
      let chain = port.outputChain;
      if (chain === undefined) {
        const popped = queue.pop();
        if (popped === null) break;
        chain = popped;
        pieces -= popped.length;
        port.outputChain = popped;
        // After a pause the chain comes again, and the sink has its beginning.
        chain.reader.skip(Math.min(port.outputDone, chain.reader.remaining));
      }
      const { reader } = chain;
      while (reader.remaining > 0 && bytes > 0 && !isPaused(port)) {
        const chunk = new Uint8Array(Math.min(reader.remaining, OUTPUT_CHUNK));
        reader.read(chunk);
        bytes -= chunk.length;
        port.outputDone += chunk.length;
        // The sink may have reset or paused the device.
        if (!emit(context, port, chunk) || port.outputChain !== chain) return;
      }
      if (reader.remaining > 0) break;
      port.outputChain = undefined;
      port.outputDone = 0;
      queue.addUsed(chain, 0);
      if (isPaused(port) || --chains === 0 || pieces <= 0) break;
    }
    if (isPaused(port)) break;
    if (chains === 0 || bytes <= 0 || pieces <= 0) {
      context.renotify(index);
      break;
    }
  } while (queue.enableNotifications());
  if (queue.needsInterrupt()) context.interrupt.queue(index);
}

/** A call, because the sink changes the answer where the compiler does not expect it. */
function isPaused(port: Port): boolean {
  return port.outputPaused;
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
}

/** @returns false when the sink failed */
function emit(context: ActivateContext, port: Port, bytes: Uint8Array): boolean {
  port.outputBytes += bytes.length;
  try {
    const answer = port.onOutput?.(bytes);
    if (answer === false) port.outputPaused = true;
    if (!isThenable(answer)) return true;
    port.outputPaused = true;
    answer.then(
      () => port.resumeOutput(),
      (cause: unknown) => context.interrupt.needsReset(`the sink of port ${port.id} rejected`, cause),
    );
    return true;
  } catch (cause) {
    context.interrupt.needsReset(`the sink of port ${port.id} threw`, cause);
    return false;
  }
}

/**
 * Output that the driver cannot hold back: a sink that waits gets it all the same.
 *
 * @throws whatever the sink throws
 */
export function emitEmergency(port: Port, byte: number): void {
  port.outputBytes++;
  const answer = port.onOutput?.(Uint8Array.of(byte));
  // What became of the byte concerns nobody any more.
  if (isThenable(answer)) answer.then(undefined, () => undefined);
}

/** Gives every chain that is out back to its queue, so that the queues can be saved. */
export function returnChains(context: ActivateContext, port: Port): void {
  const receive = context.queues[receiveQueue(port.id)];
  for (let chain = port.stock.pop(); chain !== undefined; chain = port.stock.pop()) receive?.undoPop(chain);
  const chain = port.outputChain;
  if (chain === undefined) return;
  port.outputChain = undefined;
  context.queues[transmitQueue(port.id)]?.undoPop(chain);
}
