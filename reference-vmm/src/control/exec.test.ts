import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { Duplex, type Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setImmediate as turn } from 'node:timers/promises';
import { Agent } from '../agent/agent.ts';
import { VmmError } from '../errors.ts';
import { TestServer } from '../../test/control-server.ts';
import { encodeChannel, encodeCredit } from './exec-frames.ts';
import { FrameParser, FrameType, encodeFrame, encodeJsonFrame } from './frames.ts';
import type { RemoteProcess } from './remote-process.ts';

const failure = (code: string, cause?: string): unknown =>
  expect.objectContaining({
    name: 'VmmError',
    code,
    ...(cause === undefined ? {} : { cause: expect.objectContaining({ code: cause }) }),
  });

/** Reads on until the text has come; what follows is for the next reader. */
async function until(stream: Readable, what: string): Promise<string> {
  let seen = '';
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    seen += String(chunk);
    if (seen.includes(what)) return seen;
  }
  throw new Error(`"${what}" did not come: ${seen}`);
}

/** Resolves when no process has this number, or it is only to be reaped. */
async function isGone(pid: string): Promise<void> {
  const state = (): string => {
    try {
      return readFileSync(`/proc/${pid.trim()}/stat`, 'utf8')
        .replace(/^.*\) /s, '')
        .charAt(0);
    } catch {
      return 'gone';
    }
  };
  while (!['gone', 'Z'].includes(state())) await turn();
}

/** A client that says what a test wants it to: answers the frames that came, as soon as they did. */
class RawClient {
  readonly socket: Socket;
  readonly frames: { readonly type: number; readonly payload: string }[] = [];
  #wake: () => void = () => undefined;
  #head = '';
  readonly #parser = new FrameParser((type, payload) => {
    this.frames.push({ type, payload: Buffer.from(payload).toString('latin1') });
    this.#wake();
  });

  constructor(server: TestServer, request = 'POST /v1/exec') {
    this.socket = server.connect();
    this.socket.on('error', () => undefined);
    this.socket.write(
      `${request} HTTP/1.1\r\nHost: vm\r\nConnection: Upgrade\r\nUpgrade: vmm-stream\r\n\r\n`,
    );
    this.socket.on('data', (bytes: Buffer) => {
      if (/^HTTP\/1.1 101 .*\r\n\r\n/s.test(this.#head)) {
        this.#parser.push(bytes);
        return;
      }
      this.#head += bytes.toString('latin1');
      const end = this.#head.indexOf('\r\n\r\n');
      if (end >= 0 && this.#head.startsWith('HTTP/1.1 101 '))
        this.#parser.push(Buffer.from(this.#head.slice(end + 4), 'latin1'));
    });
    this.socket.on('close', () => this.#wake());
  }

  async until(type: number): Promise<string> {
    for (;;) {
      const found = this.frames.find((frame) => frame.type === type);
      if (found !== undefined) return found.payload;
      if (this.socket.destroyed) throw new Error(`no frame of type ${type}: ${this.#head}`);
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

describe('a command by the control socket', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await TestServer.start();
  });
  afterAll(() => server[Symbol.asyncDispose]());

  const sh = (script: string, options?: Parameters<typeof server.client.exec>[1]): RemoteProcess =>
    server.client.exec(['sh', '-c', script], options);

  it('has streams of its own, an environment, a directory, and an exit code', async () => {
    const command = sh('read a; echo "out $a $B $(pwd)"; echo "err $a" >&2; exit 7', {
      env: { B: 'é' },
      cwd: '/proc',
    });
    command.stdin.end('x\n');
    expect(await Promise.all([text(command.stdout), text(command.stderr), command.exit])).toEqual([
      'out x é /proc\n',
      'err x\n',
      { code: 7 },
    ]);
    expect(await sh('kill -SEGV $$').output()).toEqual({
      exit: { signal: 'SIGSEGV' },
      stdout: '',
      stderr: '',
    });
  });

  it('carries more than any buffer both ways at once', async () => {
    const data = Buffer.alloc(8 << 20, 'the quick brown fox ');
    const command = server.client.exec(['cat']);
    command.stdin.end(data);
    const chunks: Uint8Array[] = [];
    for await (const chunk of command.stdout as AsyncIterable<Uint8Array>) chunks.push(chunk);
    expect(Buffer.concat(chunks).equals(data)).toBe(true);
    expect(await command.exit).toEqual({ code: 0 });
  });

  it('waits for nothing else: neither an output for the other, nor a signal for input that nobody takes', async () => {
    const flood = sh('echo first >&2; yes');
    flood.stdin.write(Buffer.alloc(4 << 20));
    expect(await until(flood.stderr, 'first\n')).toBe('first\n');
    for (let i = 0; i < 3; i++) expect((await sh('echo hello').output()).stdout).toBe('hello\n');
    flood.kill('SIGKILL');
    expect(await flood.exit).toEqual({ signal: 'SIGKILL' });
    expect(flood.stdout.readableLength).toBeLessThanOrEqual(262144);
    flood.stdout.destroy();
  });

  it('is one of many at once', async () => {
    const results = await Promise.all(
      Array.from({ length: 40 }, (_, i) => sh(`cat; echo ${i}; exit ${i}`).output()),
    );
    expect(results.map(({ stdout, exit }) => [stdout, exit])).toEqual(
      results.map((_, i) => [`${i}\n`, { code: i }]),
    );
  });

  it('has a terminal, whose size follows', async () => {
    const command = sh(
      'stty size; until [ "$(stty size)" = "40 120" ]; do sleep 0.02; done; echo resized; exec cat',
      {
        tty: { columns: 100, rows: 30 },
      },
    );
    await until(command.stdout, '30 100');
    for (let columns = 2; columns <= 120; columns++) command.resize({ columns, rows: 40 });
    await until(command.stdout, 'resized');
    command.stdin.write('\x03');
    expect(await command.exit).toEqual({ signal: 'SIGINT' });
    expect(await text(command.stderr)).toBe('');
  });

  it('says why it could not be started, or was ended, as the library does', async () => {
    await expect(server.client.exec(['/no/such']).exit).rejects.toEqual(failure('GUEST_ERROR', 'ENOENT'));
    await expect(server.client.exec(['/etc/passwd']).output()).rejects.toEqual(
      failure('GUEST_ERROR', 'EACCES'),
    );
    await expect(sh('sleep 1000', { timeout: 20 }).exit).rejects.toEqual(failure('TIMED_OUT'));
    expect(() => server.client.exec([])).toThrow(expect.objectContaining({ code: 'INVALID_REQUEST' }));
    expect(() => server.client.exec(['x'.repeat(70000)])).toThrow(
      expect.objectContaining({ code: 'INVALID_REQUEST' }),
    );
    expect(() => sh('true').kill(65)).toThrow(expect.objectContaining({ code: 'INVALID_REQUEST' }));
    await expect(server.client.exec(['a\0b']).exit).rejects.toEqual(failure('INVALID_REQUEST'));
  });

  it('gets SIGPIPE when nobody wants its output', async () => {
    const command = server.client.exec(['yes']);
    await until(command.stdout, 'y');
    command.stdout.destroy();
    expect(await command.exit).toEqual({ signal: 'SIGPIPE' });
  });

  it('is killed when its client goes away, or aborts, and nothing else is', async () => {
    const other = server.client.exec(['cat']);
    const abort = new AbortController();
    const aborted = sh('echo $$; exec sleep 1000', { signal: abort.signal });
    const pids = [await until(aborted.stdout, '\n')];
    const reason = new Error('enough');
    abort.abort(reason);
    await expect(aborted.exit).rejects.toBe(reason);

    const raw = new RawClient(server);
    raw.socket.write(encodeJsonFrame(FrameType.request, { argv: ['sh', '-c', 'echo $$; sleep 1000'] }));
    pids.push(await raw.until(FrameType.stdout));
    raw.socket.destroy();
    for (const pid of pids) await isGone(pid);
    other.stdin.end('still there');
    expect(await text(other.stdout)).toBe('still there');
  });

  it.each<[string, (client: RawClient) => void, string]>([
    ['no request', ({ socket }) => socket.write(encodeFrame(FrameType.stdin, Buffer.from('x'))), 'request'],
    ['no JSON', ({ socket }) => socket.write(encodeFrame(FrameType.request, Buffer.from('{'))), 'JSON'],
    [
      'an unknown field',
      ({ socket }) => socket.write(encodeJsonFrame(FrameType.request, { argv: ['true'], what: 1 })),
      'what',
    ],
    ['an unknown frame', ({ socket }) => socket.write(Buffer.from([99, 0, 0, 0, 0])), 'type 99'],
  ])('is refused for %s', async (_, say, message) => {
    const client = new RawClient(server);
    say(client);
    expect(JSON.parse(await client.until(FrameType.error))).toMatchObject({
      code: 'INVALID_REQUEST',
      message: expect.stringContaining(message) as string,
    });
    if (!client.socket.destroyed) await once(client.socket, 'close');
  });

  it.each<[string, Uint8Array[]]>([
    [
      'more input than there is credit for',
      Array.from({ length: 20 }, () => encodeFrame(FrameType.stdin, Buffer.alloc(65536))),
    ],
    ['credit for what was not sent', [encodeFrame(FrameType.credit, encodeCredit(1, 1000))]],
    ['credit for input', [encodeFrame(FrameType.credit, encodeCredit(0, 1))]],
    ['two ends of input', [0, 0].map(() => encodeFrame(FrameType.eof, encodeChannel(0)))],
    ['a channel that is none', [encodeFrame(FrameType.eof, Uint8Array.of(9))]],
    ['a signal that is none', [encodeFrame(FrameType.signal, Uint8Array.of(65))]],
    ['an output', [encodeFrame(FrameType.stdout, Buffer.from('x'))]],
    ['a second request', [encodeJsonFrame(FrameType.request, { argv: ['true'] })]],
  ])('is killed when its client sends %s', async (_, frames) => {
    const client = new RawClient(server);
    client.socket.write(
      encodeJsonFrame(FrameType.request, { argv: ['sh', '-c', 'echo $$; exec sleep 1000'] }),
    );
    const pid = await client.until(FrameType.stdout);
    for (const frame of frames) client.socket.write(frame);
    expect(JSON.parse(await client.until(FrameType.error))).toMatchObject({ code: 'INVALID_REQUEST' });
    await isGone(pid);
    expect(await sh('exit 3').exit).toEqual({ code: 3 });
  });

  it('needs the right method and an upgrade', async () => {
    const client = new RawClient(server, 'GET /v1/exec');
    await expect(client.until(FrameType.exit)).rejects.toThrow('405');
    await expect(new RawClient(server, 'POST /v1/console').until(FrameType.exit)).rejects.toThrow('405');
  });
});

it('without an agent in the guest, says so at once', async () => {
  await using server = await TestServer.start(
    {},
    Agent.attach(new Duplex({ read: () => undefined, write: () => undefined })),
  );
  const waiting = server.client.exec(['true']);
  server.vm.agent.end(new VmmError('NO_AGENT', 'there is no agent in the guest'));
  await expect(waiting.exit).rejects.toEqual(failure('NO_AGENT'));
  await expect(server.client.exec(['true']).output()).rejects.toThrow('there is no agent in the guest');
  await expect(text(waiting.stdout)).rejects.toEqual(failure('NO_AGENT'));
});

it('has to be named in time', async () => {
  await using server = await TestServer.start({ close: 100, request: 10 });
  const client = new RawClient(server);
  expect(await client.until(FrameType.error)).toContain('in time');
});

it('ends with the VM', async () => {
  await using server = await TestServer.start();
  const command = server.client.exec(['cat']);
  command.stdin.write('up');
  await until(command.stdout, 'up');
  server.vm.agent.end(new VmmError('ENDED', 'the VM has ended'));
  await expect(command.exit).rejects.toEqual(failure('ENDED'));
});
