import { once } from 'node:events';
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import { type AddressInfo, type Socket, connect, createServer as createRawServer } from 'node:net';
import { text } from 'node:stream/consumers';
import { type ConnectGuest, guestFetch } from './fetch.ts';

const code = (value: string): unknown => expect.objectContaining({ name: 'VmmError', code: value });

/** A server that stands for the guest's, and the ports that were asked for. */
class Guest {
  readonly ports: number[] = [];
  readonly sockets = new Set<Socket>();
  handler: (request: IncomingMessage, response: ServerResponse) => void = () => undefined;
  readonly #server: Server = createServer((request, response) => this.handler(request, response));

  async listen(): Promise<void> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  readonly connect: ConnectGuest = async (port) => {
    this.ports.push(port);
    const socket = connect((this.#server.address() as AddressInfo).port, '127.0.0.1');
    this.sockets.add(socket);
    socket.once('close', () => this.sockets.delete(socket));
    await once(socket, 'connect');
    return socket;
  };

  /** Resolves when no connection is left. */
  async idle(): Promise<void> {
    for (const socket of this.sockets) await once(socket, 'close');
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

/** Answers bytes, whatever is asked. */
async function rawAnswer(answer: string): Promise<ConnectGuest & Disposable> {
  const server = createRawServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.end(answer));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const connectTo: ConnectGuest = async () => {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    await once(socket, 'connect');
    return socket;
  };
  return Object.assign(connectTo, { [Symbol.dispose]: () => void server.close() });
}

let guest: Guest;
beforeEach(async () => {
  guest = new Guest();
  await guest.listen();
});
afterEach(() => guest.close());

describe('guestFetch', () => {
  it('asks the port of the URL and answers as fetch does', async () => {
    guest.handler = ({ method, url, headers }, response) => {
      response.setHeader('set-cookie', ['a=1', 'b=2']);
      response.writeHead(201, 'Made', {
        'x-asked': `${method} ${url} ${headers.host} ${String(headers['x-more'])}`,
      });
      response.end('{"good":true}');
    };
    const response = await guestFetch(guest.connect, 'http://guest:8080/a/b?c=d#e', {
      headers: { 'x-more': 'yes' },
    });
    expect([response.status, response.statusText, response.ok]).toEqual([201, 'Made', true]);
    expect(response.headers.get('x-asked')).toBe('GET /a/b?c=d guest:8080 yes');
    expect(response.headers.getSetCookie()).toEqual(['a=1', 'b=2']);
    expect(await response.json()).toEqual({ good: true });
    await guestFetch(guest.connect, new URL('http://guest/'));
    expect(guest.ports).toEqual([8080, 80]);
  });

  it('sends what is in memory with its length, and streams in chunks', async () => {
    guest.handler = (request, response) => {
      void text(request).then((body) => {
        const { 'content-length': length, 'transfer-encoding': encoding } = request.headers;
        response.end(`${request.method} ${length} ${encoding} ${request.headers['content-type']} ${body}`);
      });
    };
    const ask = async (init: Parameters<typeof guestFetch>[2]): Promise<string> =>
      (await guestFetch(guest.connect, 'http://guest/', { method: 'POST', ...init })).text();
    expect(await ask({ body: 'größe' })).toBe('POST 7 undefined text/plain;charset=UTF-8 größe');
    expect(await ask({ body: new URLSearchParams({ a: 'b c' }) })).toContain('5 undefined application/x-www');
    const chunks = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode('one '));
        controller.enqueue(new TextEncoder().encode('two'));
        controller.close();
      },
    });
    expect(await ask({ body: chunks, duplex: 'half' })).toBe('POST undefined chunked undefined one two');
  });

  it('gives the body as it comes, at the pace of its reader, and closes the connection', async () => {
    let sent = 0;
    guest.handler = (_, response) => {
      const more = (): void => {
        while (sent < 64 * 1024 * 1024 && response.write(Buffer.alloc(65_536))) sent += 65_536;
        if (sent < 64 * 1024 * 1024) response.once('drain', more);
        else response.end();
      };
      more();
    };
    const response = await guestFetch(guest.connect, 'http://guest/');
    const reader = response.body!.getReader();
    const { value: first } = (await reader.read()) as { value: Uint8Array };
    expect(first.length).toBeGreaterThan(0);
    // The server stands still, at a place that only buffers decide, until somebody reads on.
    let before = -1;
    while (before !== sent) {
      before = sent;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(sent).toBeLessThan(32 * 1024 * 1024);
    await reader.cancel();
    await guest.idle();
  });

  it.each([
    ['HEAD', 200],
    ['GET', 204],
    ['GET', 304],
  ])('has no body for %s with %d', async (method, status) => {
    guest.handler = (_, response) => response.writeHead(status).end();
    const response = await guestFetch(guest.connect, 'http://guest/', { method });
    expect([response.status, response.body]).toEqual([status, null]);
    await guest.idle();
  });

  it('ends with the signal: before, while it waits for the answer, and in the body', async () => {
    const reason = new Error('enough');
    const aborted = guestFetch(guest.connect, 'http://guest/', { signal: AbortSignal.abort(reason) });
    await expect(aborted).rejects.toBe(reason);
    expect(guest.ports).toEqual([]);

    const waiting = new AbortController();
    guest.handler = () => waiting.abort(reason);
    await expect(guestFetch(guest.connect, 'http://guest/', { signal: waiting.signal })).rejects.toBe(reason);

    const reading = new AbortController();
    guest.handler = (_, response) => void response.write('some');
    const response = await guestFetch(guest.connect, 'http://guest/', { signal: reading.signal });
    const body = response.text();
    reading.abort(reason);
    await expect(body).rejects.toBe(reason);
    await guest.idle();
  });

  it('rejects with what connecting rejects with', async () => {
    const refused = new Error('refused');
    await expect(guestFetch(() => Promise.reject(refused), 'http://guest/')).rejects.toBe(refused);
  });

  it.each([
    ['nothing', ''],
    ['no HTTP', 'hello\r\n\r\n'],
    ['half a head', 'HTTP/1.1 200 OK\r\nx: y'],
    ['a status that there is not', 'HTTP/1.1 999 What\r\n\r\n'],
    ['a head without end', `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(100_000)}\r\n\r\n`],
  ])('refuses an answer that is %s', async (_, answer) => {
    using connectTo = await rawAnswer(answer);
    await expect(guestFetch(connectTo, 'http://guest/')).rejects.toEqual(code('BAD_RESPONSE'));
  });

  it('fails in the body when the connection ends too early', async () => {
    using connectTo = await rawAnswer('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc');
    const response = await guestFetch(connectTo, 'http://guest/');
    await expect(response.text()).rejects.toThrow();
  });

  it.each(['https://guest/', 'guest', 'http://user:pass@guest/', 'http://guest:65536/'])(
    'refuses %s',
    async (url) => {
      await expect(guestFetch(guest.connect, url)).rejects.toEqual(code('INVALID_REQUEST'));
      expect(guest.ports).toEqual([]);
    },
  );
});
