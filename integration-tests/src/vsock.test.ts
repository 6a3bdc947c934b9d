import { jest } from '@jest/globals';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { VmBuilder } from '@vmm/reference-vmm';
import { guestProgram } from './guest-program.ts';
import { GuestShell } from './guest-shell.ts';
import { BOOT_TIMEOUT, ROOT, Scratch } from './support.ts';

jest.setTimeout(BOOT_TIMEOUT);

const MB = 1_000_000;
/** What the guest may send ahead, and what may wait for it, by default. */
const BUFFER = 262_144;
const PROGRAM = guestProgram(
  'bin/vsock',
  readFileSync(join(ROOT, 'integration-tests/src/vsock-guest.c'), 'utf8'),
);

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

type VsockStream = Awaited<ReturnType<NonNullable<GuestShell['vm']['vsock']>['connect']>>;

describe.each(['mmio', 'pci'] as const)('vsock over %s, stock kernel', (transport) => {
  const path = scratch.file(`${transport}.sock`);
  let shell: GuestShell;
  const vsock = () => shell.vm.vsock!;

  beforeAll(async () => {
    const builder = new VmBuilder()
      .hypervisor('wasm')
      .transport(transport)
      .vsock(42, { path })
      .guestFiles([PROGRAM]);
    shell = await GuestShell.start(builder);
    for (const [port, mode] of [
      [7000, 'stream 7000 echo'],
      [7001, 'stream 7001 count'],
      [7002, 'seqpacket 7002 echo'],
    ] as const) {
      expect(await shell.run(`vsock listen ${mode.replace(/ \d+/, ` ${port}`)} >/tmp/${port} 2>&1 &`)).toBe(
        '',
      );
      await shell.run(`until grep -q listening /tmp/${port}; do usleep 1000; done`);
    }
  });
  afterAll(() => shell[Symbol.asyncDispose]());

  it('echoes 100 MB both ways with a slow reader, whose memory stays bounded', async () => {
    const server = vsock().listen(5000, { allowHalfOpen: true });
    const most = { input: 0, output: 0 };
    let stalled = 0;
    let echoed: Promise<void> | undefined;
    server.on('connection', (stream) => {
      const { connection } = stream;
      let since = 0;
      const slow = new Transform({
        transform(chunk: Buffer, _encoding, callback) {
          most.input = Math.max(most.input, connection.inputBytes);
          most.output = Math.max(most.output, connection.outputBytes);
          if (connection.inputBytes > BUFFER / 2) stalled++;
          since += chunk.length;
          if (since < 4 * MB) {
            callback(null, chunk);
            return;
          }
          since = 0;
          const goOn = (): void => {
            // Once, the guest has filled its half of the buffer.
            if (stalled > 0 || connection.inputBytes > BUFFER / 2) callback(null, chunk);
            else setTimeout(goOn, 10);
          };
          setTimeout(goOn, 50);
        },
      });
      echoed = pipeline(stream, slow, stream);
    });
    const bytes = 100 * MB;
    expect(await shell.run(`vsock connect stream 5000 duplex ${bytes}`)).toContain(
      `RESULT duplex sent=${bytes} received=${bytes} `,
    );
    await echoed;
    server.close();
    expect(most.input).toBeLessThanOrEqual(BUFFER);
    expect(most.output).toBeLessThanOrEqual(2 * BUFFER);
  });

  it('stops a guest whose data nobody reads, and goes on when it is read', async () => {
    const server = vsock().listen(5001);
    const accepted = once(server, 'connection') as Promise<[VsockStream]>;
    const sent = shell.run(`vsock connect stream 5001 send ${4 * MB}`);
    const [stream] = await accepted;
    while (stream.connection.inputBytes < BUFFER) await new Promise((resolve) => setTimeout(resolve, 10));
    const before = stream.connection.statistics.bytesFromGuest;
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(stream.connection.statistics.bytesFromGuest).toBe(before);
    expect((await buffer(stream)).length).toBe(4 * MB);
    expect(await sent).toContain(`sent=${4 * MB} received=0 `);
    server.close();
  });

  it('keeps the borders of messages and the ends of records', async () => {
    const listener = vsock().device.listen(
      5002,
      (connection) => {
        connection.onReadable = () => {
          for (let bytes = connection.read(); bytes !== undefined; bytes = connection.read()) {
            connection.write(bytes, { endOfRecord: connection.endOfRecord });
          }
        };
      },
      { type: 'seqpacket' },
    );
    expect(await shell.run('vsock connect seqpacket 5002 messages 1 10 5000 70000 2 200000 3')).toBe(
      '1. 10 5000. 70000 2. 200000 3. ',
    );
    listener[Symbol.dispose]();
    const stream = await vsock().connect(7002, { type: 'seqpacket' });
    for (const size of [1, 30_000, 2]) stream.write(Buffer.alloc(size, 'x'));
    stream.end();
    const sizes: number[] = [];
    for await (const message of stream as AsyncIterable<Buffer>) sizes.push(message.length);
    expect(sizes).toEqual([1, 30_000, 2]);
  });

  it('connects to programs of the guest, with half-closes', async () => {
    const counted = await vsock().connect(7001);
    counted.end(Buffer.alloc(3 * MB));
    expect(await text(counted)).toBe(String(3 * MB));
    const echo = await vsock().connect(7000);
    echo.end('hello guest');
    expect(await text(echo)).toBe('hello guest');
  });

  it('has many connections at once, both ways', async () => {
    const server = vsock().listen(5003, { allowHalfOpen: true });
    server.on('connection', (stream) => void stream.pipe(stream));
    expect(await shell.run('vsock many 5003 64')).toBe('64 of 64');
    server.close();
    const streams = await Promise.all(Array.from({ length: 32 }, () => vsock().connect(7000)));
    const answers = await Promise.all(
      streams.map((stream, i) => {
        stream.end(`stream ${i}`);
        return text(stream);
      }),
    );
    expect(answers).toEqual(streams.map((_, i) => `stream ${i}`));
  });

  it('refuses where nobody listens, on both sides', async () => {
    await expect(vsock().connect(9999)).rejects.toMatchObject({ code: 'CONNECTION_REFUSED' });
    expect(await shell.run('vsock connect stream 9999 receive')).toBe(
      'connect: Connection reset by peer\nexit 1',
    );
    const aborted = vsock().connect(7000, { signal: AbortSignal.abort() });
    await expect(aborted).rejects.toMatchObject({ code: 'ABORTED' });
  });

  it('ends when a program of the guest is killed, and when the host gives up', async () => {
    await shell.run('vsock listen stream 7003 hang >/tmp/7003 2>&1 & echo $! >/tmp/pid');
    await shell.run('until grep -q listening /tmp/7003; do usleep 1000; done');
    const stream = await vsock().connect(7003);
    stream.resume();
    const ended = once(stream, 'close');
    // The process that serves the connection is a child of the one that listens; the kernel accepts before it is there.
    await shell.run('until grep -q . /proc/$(cat /tmp/pid)/task/*/children; do usleep 1000; done');
    await shell.run('kill -9 $(cat /proc/$(cat /tmp/pid)/task/*/children) $(cat /tmp/pid)');
    await ended;
    expect(stream.connection.state).not.toBe('open');

    const server = vsock().listen(5004);
    server.on('connection', (each) => {
      each.on('error', () => undefined);
      each.destroy(new Error('enough'));
    });
    // Linux has no error for a reset; one that comes before connect() has seen the response lets it wait in vain.
    expect(await shell.run('vsock connect stream 5004 receive')).toMatch(
      /^(RESULT receive received=0 |connect: Connection timed out)/,
    );
    server.close();
  });

  it('is there for other programs through Unix sockets', async () => {
    const socat = spawn('socat', ['-t', '120', '-', `UNIX-CONNECT:${path}`]);
    socat.stdin.end('CONNECT 7000\nhello from socat');
    expect(await text(socat.stdout)).toMatch(/^OK \d+\nhello from socat$/);

    const nobody = spawn('socat', ['-', `UNIX-CONNECT:${path}`]);
    nobody.stdin.write('CONNECT 9999\n');
    expect(await text(nobody.stdout)).toBe('');

    const server = createServer({ allowHalfOpen: true }, (socket) => {
      let line = '';
      socket.on('data', (bytes) => (line += bytes.toString()));
      socket.on('end', () => socket.end(`you said: ${line}`));
    });
    server.unref().listen(`${path}_6000`);
    await once(server, 'listening');
    expect(await shell.run('vsock connect stream 6000 text hi')).toBe('you said: hi');
    server.close();
    expect(await shell.run('vsock connect stream 6001 text hi')).toMatch(
      /^connect: Connection reset by peer/,
    );
  });

  it('has nothing left at the end', async () => {
    while (vsock().device.statistics.connections > 0) await new Promise((resolve) => setTimeout(resolve, 50));
    expect(vsock().device.statistics.connections).toBe(0);
  });
});
