import type { IncomingMessage, ServerResponse } from 'node:http';
import type { TreeItem } from '../agent/transfers.ts';
import { VmmError } from '../errors.ts';
import type { ControlledVmm } from './controlled-vmm.ts';
import { filesQuerySchema } from './exec-schema.ts';
import { drained, readQuery, reply } from './http.ts';
import type { FilesReport } from './exec-schema.ts';
import { tarOf, untar } from './tar.ts';

const clientGone = (): VmmError => new VmmError('CONTROL_FAILED', 'the client went away');

function agentOf(vmm: ControlledVmm): NonNullable<ControlledVmm['agent']> {
  if (vmm.agent === undefined) throw new VmmError('NOT_SUPPORTED', 'this VM copies no files');
  return vmm.agent;
}

/** Answers with a file or a tree of the guest's as a tar stream, at the pace of the client; breaks off when it fails half-way. */
export async function sendFiles(vmm: ControlledVmm, response: ServerResponse, url: URL): Promise<void> {
  const { path } = readQuery(url, filesQuerySchema);
  const gone = new AbortController();
  response.once('close', () => gone.abort(clientGone()));
  const bytes = tarOf(agentOf(vmm).get(path, { signal: gone.signal }));
  // What cannot be read at all is refused as everything else is.
  const first = await bytes.next();
  response.writeHead(200, { 'content-type': 'application/x-tar' });
  try {
    if (first.done !== true) response.write(first.value);
    for await (const chunk of bytes) {
      if (!response.write(chunk)) await drained(response, gone.signal);
      gone.signal.throwIfAborted();
    }
    response.end();
  } catch {
    response.destroy();
  }
}

/** Takes a tar stream to below a directory of the guest, at the pace of the guest. */
export async function takeFiles(
  vmm: ControlledVmm,
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
): Promise<void> {
  const { path } = readQuery(url, filesQuerySchema);
  const gone = new AbortController();
  request.once('close', () => {
    if (!request.complete) gone.abort(clientGone());
  });
  response.once('close', () => gone.abort(clientGone()));
  const report = { entries: 0, bytes: 0 };
  // The connection is still to carry the answer when the stream is left half-way.
  const body = request.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>;
  await agentOf(vmm).put(path, counted(untar(body), report), { signal: gone.signal });
  reply(response, 200, report satisfies FilesReport);
}

async function* counted(
  entries: AsyncIterable<TreeItem>,
  report: { entries: number; bytes: number },
): AsyncGenerator<TreeItem, void, undefined> {
  for await (const entry of entries) {
    yield entry;
    report.entries++;
    report.bytes += entry.size;
  }
}
