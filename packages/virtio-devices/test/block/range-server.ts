import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A web server that has one image and understands `Range`, on a port of its own. */
export class RangeServer {
  readonly url: string;
  /** Bytes of each range that was asked for. */
  readonly lengths: number[] = [];
  readonly #close: () => Promise<void>;

  private constructor(url: string, close: () => Promise<void>) {
    this.url = url;
    this.#close = close;
  }

  static async start(image: Uint8Array): Promise<RangeServer> {
    const server = createServer((request, response) => {
      const match = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
      if (request.method === 'HEAD' || match === null) {
        response.writeHead(200, { 'content-length': image.length });
        response.end();
        return;
      }
      const [from, to] = [Number(match[1]), Number(match[2])];
      started.lengths.push(to + 1 - from);
      response.writeHead(206, { 'content-range': `bytes ${from}-${to}/${image.length}` });
      response.end(image.subarray(from, to + 1));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const started = new RangeServer(`http://127.0.0.1:${port}/disk.img`, async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    });
    return started;
  }

  close(): Promise<void> {
    return this.#close();
  }
}
