import type { ServerResponse } from 'node:http';
import { drained } from './http.ts';
import type { ConsoleLog } from './log.ts';

const NOTHING = { bytes: new Uint8Array(), next: 0 };

/**
 * Answers with the log, and with what comes to it, if that is asked for. A reader that is slower than the guest misses what
 * was rotated away meanwhile; nothing waits for it and nothing is kept for it.
 */
export async function sendLog(log: ConsoleLog, response: ServerResponse, follow: boolean): Promise<void> {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' });
  // The beginning of a quiet log is an answer too.
  response.flushHeaders();
  const end = follow ? Number.POSITIVE_INFINITY : log.end;
  let place = log.start;
  // Writing to a reader that has gone is harmless, and so is the end.
  while (!gone.signal.aborted) {
    const { bytes, next } = place < Math.min(log.end, end) ? log.read(place) : NOTHING;
    if (bytes.length > 0) {
      place = next;
      if (!response.write(bytes)) await drained(response, gone.signal);
    } else if (follow && !log.ended) {
      await log.changed(gone.signal);
    } else {
      break;
    }
  }
  response.end();
}
