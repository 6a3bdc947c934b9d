import { jest } from '@jest/globals';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { type IncomingMessage, type RequestOptions, request } from 'node:http';
import { type Socket, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { FakeVmm } from '../../test/fake-vmm.ts';
import { RuntimeDirectory } from '../runtime-directory.ts';
import { ControlClient } from './client.ts';
import { ConsoleHub } from './console-hub.ts';
import { list } from './list.ts';
import { ConsoleLog } from './log.ts';
import { type ControlTimeouts, ControlServer } from './server.ts';

const previous = process.env['XDG_RUNTIME_DIR'];
let base = '';
let cleanups: (() => unknown)[] = [];

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'vmm-control-'));
  process.env['XDG_RUNTIME_DIR'] = base;
  cleanups = [];
});

afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
  rmSync(base, { recursive: true, force: true });
  if (previous === undefined) delete process.env['XDG_RUNTIME_DIR'];
  else process.env['XDG_RUNTIME_DIR'] = previous;
});

interface Setup {
  readonly vm: FakeVmm;
  readonly hub: ConsoleHub;
  readonly server: ControlServer;
  readonly path: string;
}

async function serve(name = 'fake', timeouts: ControlTimeouts = { close: 100 }): Promise<Setup> {
  const directory = RuntimeDirectory.claim(name);
  const vm = new FakeVmm(name);
  const hub = new ConsoleHub(new ConsoleLog(directory.path), vm.console);
  hub.tap(vm.console);
  const path = join(directory.path, 'control.sock');
  const server = await ControlServer.listen(vm, path, hub, timeouts);
  cleanups.push(async () => {
    vm.end({ kind: 'stopped' });
    await server[Symbol.asyncDispose]();
    hub.log[Symbol.dispose]();
    directory[Symbol.dispose]();
  });
  return { vm, hub, server, path };
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: unknown;
}

function ask(
  { path: socketPath }: Setup,
  method: string,
  path: string,
  body?: string | Uint8Array,
  options: RequestOptions = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    request({ socketPath, method, path, agent: false, ...options })
      .on('error', reject)
      .on('response', (response) => {
        text(response).then(
          (answer) =>
            resolve({
              status: response.statusCode ?? 0,
              headers: response.headers,
              body: answer === '' ? undefined : (JSON.parse(answer) as unknown),
            }),
          reject,
        );
      })
      .end(body);
  });
}

/** Sends bytes as they are; answers everything that came until the end. */
function raw({ path }: Setup, bytes: string): Promise<string> {
  return new Promise((resolve) => {
    let answer = '';
    const socket = connect(path)
      .on('data', (chunk) => (answer += chunk.toString()))
      .on('error', () => {})
      .on('close', () => resolve(answer));
    socket.write(bytes);
  });
}

function socketOf({ path }: Setup, bytes: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket: Socket = connect(path, () => socket.write(bytes, () => resolve(socket)));
    socket.on('error', reject);
    cleanups.push(() => socket.destroy());
  });
}

const refused = (code: string, message: RegExp): unknown => ({
  error: { code, message: expect.stringMatching(message) as string },
});

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

describe('the control socket', () => {
  it('is the user’s alone', async () => {
    const { path } = await serve();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(join(path, '..')).mode & 0o777).toBe(0o700);
  });

  it('works where the path is longer than a socket address', async () => {
    base = join(base, 'x'.repeat(100));
    process.env['XDG_RUNTIME_DIR'] = base;
    await serve('long');
    expect(await ControlClient.connect('long').info()).toMatchObject({ name: 'long', state: 'running' });
    const console = await ControlClient.connect('long').console();
    console.destroy();
  });

  it('tells what the VM is and does', async () => {
    const setup = await serve();
    const { status, body } = await ask(setup, 'GET', '/v1/vm');
    expect(status).toBe(200);
    expect(body).toMatchObject({
      name: 'fake',
      pid: process.pid,
      state: 'running',
      reason: null,
      cpus: 2,
      memory: 256 * 1024 * 1024,
      kernel: null,
      command: ['sleep', '1'],
      devices: [{ name: 'disk0', type: 2, model: 'block' }],
    });
    const stats = await ControlClient.connect('fake').stats();
    expect(stats).toMatchObject({
      instructions: 11,
      exits: { total: 5, byReason: { mmio: 5 } },
      devices: [{ name: 'disk0', transport: { notifications: 7 }, counters: { reads: 3 } }],
    });
    expect(Object.keys(stats.devices[0]!.counters)).toEqual(['reads']);
  });
});

describe('changes of state', () => {
  it('are answered with the state that they led to, or with the reason why not', async () => {
    const setup = await serve();
    expect(await ask(setup, 'POST', '/v1/pause')).toMatchObject({ status: 200, body: { state: 'paused' } });
    const again = await ask(setup, 'POST', '/v1/pause');
    expect(again).toMatchObject({ status: 409, body: refused('WRONG_STATE', /is paused/) });
    const client = ControlClient.connect('fake');
    await expect(client.pause()).rejects.toThrow(expect.objectContaining({ code: 'WRONG_STATE' }));
    expect(await client.resume()).toMatchObject({ state: 'running' });
    await expect(client.reset()).rejects.toThrow(expect.objectContaining({ code: 'NOT_SUPPORTED' }));
  });

  it('come one after the other when they come at once, and all have answers', async () => {
    const setup = await serve();
    const answers = await Promise.all(
      ['pause', 'pause', 'pause', 'pause'].map((operation) => ask(setup, 'POST', `/v1/${operation}`)),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409, 409, 409]);
    const both = await Promise.all([ask(setup, 'POST', '/v1/stop', '{}'), ask(setup, 'POST', '/v1/kill')]);
    expect(both.map(({ status }) => status)).toEqual([200, 200]);
  });

  it('happen although the client has gone', async () => {
    const setup = await serve();
    let open = (): void => {};
    setup.vm.gate = new Promise((resolve) => (open = resolve));
    const socket = await socketOf(setup, 'POST /v1/pause HTTP/1.1\r\nHost: x\r\n\r\n');
    await ask(setup, 'GET', '/v1/vm');
    socket.destroy();
    open();
    await until(() => setup.vm.state === 'paused');
    expect(await ask(setup, 'GET', '/v1/vm')).toMatchObject({ body: { state: 'paused' } });
  });

  it('do not happen for half a request', async () => {
    const setup = await serve();
    const socket = await socketOf(
      setup,
      'POST /v1/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"gr',
    );
    await ask(setup, 'GET', '/v1/vm');
    socket.destroy();
    await ask(setup, 'GET', '/v1/vm');
    expect(setup.vm.state).toBe('running');
  });

  it('stop: by the power button first, and from a paused state too', async () => {
    const setup = await serve();
    await ask(setup, 'POST', '/v1/pause');
    const answer = await ask(setup, 'POST', '/v1/stop', '{"grace": 250}');
    expect(answer).toMatchObject({ status: 200, body: { state: 'stopped', reason: { kind: 'shutdown' } } });
    expect(setup.vm.graces).toEqual([250]);
  });

  it('stop without grace, and kill: at once', async () => {
    for (const [path, body] of [
      ['/v1/stop', '{"grace": 0}'],
      ['/v1/kill', ''],
    ] as const) {
      const setup = await serve(path.slice(4));
      expect(await ask(setup, 'POST', path, body)).toMatchObject({ body: { reason: { kind: 'stopped' } } });
      expect(setup.vm.graces).toEqual([]);
    }
  });
});

describe('requests that are wrong are refused with a JSON object, and the VM goes on', () => {
  it.each<[string, string, string, string | undefined, number, RegExp]>([
    ['an unknown path', 'GET', '/v1/nothing', undefined, 404, /\/v1\//],
    ['another version', 'GET', '/v2/vm', undefined, 404, /\/v1\//],
    ['a host in the path', 'GET', '//evil/v1/vm', undefined, 404, /no such path/],
    ['a name of an object', 'GET', '/v1/__proto__', undefined, 404, /no such path/],
    ['a wrong method', 'GET', '/v1/pause', undefined, 405, /POST/],
    ['a method of objects', 'constructor', '/v1/vm', undefined, 400, /no HTTP/],
    ['DELETE', 'DELETE', '/v1/vm', undefined, 405, /GET/],
    ['no JSON', 'POST', '/v1/stop', '{"grace":', 400, /no JSON/],
    ['an array', 'POST', '/v1/stop', '[]', 400, /body/],
    ['null', 'POST', '/v1/stop', 'null', 400, /body/],
    ['an unknown field', 'POST', '/v1/stop', '{"grace": 1, "x": 1}', 400, /body: x/],
    ['a prototype', 'POST', '/v1/stop', '{"__proto__": {"grace": 1}}', 400, /body/],
    ['a field where there is none', 'POST', '/v1/pause', '{"now": true}', 400, /body: now/],
    ['a grace below 0', 'POST', '/v1/stop', '{"grace": -1}', 400, /body: grace/],
    ['a grace of a week', 'POST', '/v1/stop', '{"grace": 604800000}', 400, /body: grace/],
    ['a grace that is text', 'POST', '/v1/stop', '{"grace": "1"}', 400, /body: grace/],
    ['deep nesting', 'POST', '/v1/stop', '['.repeat(60_000), 400, /no JSON/],
    ['an unknown parameter', 'GET', '/v1/logs?from=1', undefined, 400, /query: from/],
    ['a parameter twice', 'GET', '/v1/logs?follow=1&follow=0', undefined, 400, /twice/],
    ['a console without upgrade', 'GET', '/v1/console', undefined, 426, /Upgrade/],
  ])('%s', async (_, method, path, body, status, message) => {
    const setup = await serve();
    if (method === 'constructor') {
      expect(await raw(setup, `${method} ${path} HTTP/1.1\r\n\r\n`)).toMatch(
        /^HTTP\/1\.1 400 [\s\S]*INVALID_REQUEST/,
      );
    } else {
      const answer = await ask(setup, method, path, body);
      expect(answer).toMatchObject({ status, body: refused('INVALID_REQUEST', message) });
      expect(answer.headers['content-type']).toBe('application/json');
      if (status === 405) expect(answer.headers['allow']).toMatch(/GET|POST/);
    }
    expect(setup.vm.state).toBe('running');
  });

  it.each([
    ['announced', { 'content-length': String(10 * 1024 * 1024) }],
    ['in chunks', { 'transfer-encoding': 'chunked' }],
  ])('a body of 10 MiB, %s', async (_, headers) => {
    const setup = await serve();
    const answer = await ask(setup, 'POST', '/v1/stop', Buffer.alloc(10 * 1024 * 1024, ' '), { headers });
    expect(answer).toMatchObject({ status: 413, body: refused('INVALID_REQUEST', /65536/) });
    expect(setup.vm.state).toBe('running');
  });

  it.each([
    ['no HTTP', 'hello\r\n\r\n', 400],
    ['headers without end', `GET /v1/vm HTTP/1.1\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
    ['two lengths', 'POST /v1/stop HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}', 400],
    [
      'an upgrade of something else',
      'GET /v1/vm HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: vmm-stream\r\n\r\n',
      400,
    ],
    [
      'an upgrade to something else',
      'GET /v1/console HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n',
      400,
    ],
    ['CONNECT', 'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n', 405],
    ['an expectation', 'POST /v1/stop HTTP/1.1\r\nHost: a\r\nExpect: more\r\n\r\n', 417],
    ['half a request', 'POST /v1/stop HT', 408],
    ['half a body', 'POST /v1/stop HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{', 408],
  ])('%s', async (_, bytes, status) => {
    // What is meant to arrive at once has the usual time for it.
    const patience = status === 408 ? { headers: 1000, request: 1000 } : {};
    const setup = await serve('fake', { ...patience, close: 100 });
    const answer = await raw(setup, bytes);
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(JSON.parse(answer.slice(answer.indexOf('\r\n\r\n')))).toEqual(refused('INVALID_REQUEST', /./));
    expect(setup.vm.state).toBe('running');
    expect(await ask(setup, 'GET', '/v1/vm')).toMatchObject({ status: 200 });
  });
});

describe('the log', () => {
  it('is given as it is, and followed to the end', async () => {
    const { vm, server } = await serve();
    const client = ControlClient.connect('fake');
    vm.console.print('one\n');
    await until(() => vm.console.readableLength === 0);
    expect(await text(await client.logs())).toBe('one\n');
    const followed = text(await client.logs({ follow: true }));
    vm.console.print('two\n');
    await until(() => vm.console.readableLength === 0);
    vm.end({ kind: 'shutdown' });
    await server[Symbol.asyncDispose]();
    expect(await followed).toBe('one\ntwo\n');
  });

  it('a reader that does not read keeps neither the guest nor the end waiting, nor memory', async () => {
    const setup = await serve();
    const socket = await socketOf(setup, 'GET /v1/logs?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n');
    socket.pause();
    const read = jest.spyOn(setup.hub.log, 'read');
    for (let count = 0; count < 64; count++) {
      setup.vm.console.print(Buffer.alloc(1024 * 1024, 'x'));
      await until(() => setup.vm.console.readableLength === 0);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(setup.hub.bytes).toBe(64 * 1024 * 1024);
    // 64 KiB each: no more than sockets take.
    expect(read.mock.calls.length).toBeLessThan(64);
    expect(setup.hub.log.end - setup.hub.log.start).toBeLessThanOrEqual(4 * 1024 * 1024);
    await setup.server[Symbol.asyncDispose]();
  });
});

describe('the console', () => {
  it('has several viewers, who all see everything and may all type', async () => {
    const { vm, server } = await serve();
    const client = ControlClient.connect('fake');
    const one = await client.console();
    const two = await client.console();
    const seen = Promise.all([text(one), text(two)]);
    vm.console.print('hello ');
    one.write('from one\n');
    await until(() => vm.console.typed.includes('one'));
    two.write('from two\n');
    two.resize({ columns: 90, rows: 20 });
    await until(() => vm.sizes.length > 0);
    expect(vm.console.typed).toBe('from one\nfrom two\n');
    expect(vm.sizes).toEqual([[90, 20]]);
    expect(await client.stats()).toMatchObject({ console: { bytes: 6, viewers: 2 } });
    vm.console.print('world');
    await until(() => vm.console.readableLength === 0);
    vm.end({ kind: 'exited', code: 3 });
    await server[Symbol.asyncDispose]();
    expect(await seen).toEqual(['hello world', 'hello world']);
    expect([one.reason, two.reason]).toEqual([
      { kind: 'exited', code: 3 },
      { kind: 'exited', code: 3 },
    ]);
  });

  it('takes no more than the guest does, and a viewer that leaves meanwhile is gone', async () => {
    const { vm, hub } = await serve();
    vm.console.blocked = true;
    const viewer = await ControlClient.connect('fake').console();
    viewer.write('x'.repeat(100));
    viewer.write('y'.repeat(4 * 1024 * 1024));
    viewer.on('error', () => {});
    await until(() => vm.console.typed !== '');
    expect(vm.console.writableLength).toBeLessThan(1024 * 1024);
    viewer.destroy();
    vm.console.print('z'.repeat(1024));
    await until(() => hub.viewers === 0);
    vm.console.unblock();
  });

  it('forgets viewers that leave, also while the guest prints nothing', async () => {
    const { hub } = await serve();
    const viewer = await ControlClient.connect('fake').console();
    await until(() => hub.viewers === 1);
    viewer.destroy();
    await until(() => hub.viewers === 0);
  });

  it('leaves out what a viewer does not read, and says so', async () => {
    const { vm, hub } = await serve();
    const viewer = await ControlClient.connect('fake').console();
    for (let count = 0; count < 16; count++) {
      vm.console.print(Buffer.alloc(1024 * 1024, '.'));
      await until(() => vm.console.readableLength === 0);
    }
    expect(hub.bytes).toBe(16 * 1024 * 1024);
    let seen = '';
    viewer.on('data', (bytes: Uint8Array) => (seen = (seen + new TextDecoder().decode(bytes)).slice(-1000)));
    const asked = setInterval(() => vm.console.print('!'), 5);
    cleanups.push(() => clearInterval(asked));
    await until(() => seen.includes('!'));
    expect(seen).toMatch(/\[\d+ bytes left out\]/);
    viewer.destroy();
  });

  it.each([
    ['a type that there is not', [99, 0, 0, 0, 0]],
    ['a type that is the guest’s', [1, 1, 0, 0, 0, 65]],
    ['a length beyond the limit', [0, 255, 255, 255, 255]],
    ['a size that is none', [4, 2, 0, 0, 0, 123, 125]],
    ['a size that is no JSON', [4, 1, 0, 0, 0, 65]],
  ])('ends the connection at %s', async (_, bytes) => {
    const setup = await serve();
    const answer = await raw(
      setup,
      `GET /v1/console HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: vmm-stream\r\n\r\n${Buffer.from(bytes).toString('latin1')}`,
    );
    expect(answer).toContain('INVALID_REQUEST');
    expect(setup.hub.viewers).toBe(0);
    expect(await ask(setup, 'GET', '/v1/vm')).toMatchObject({ status: 200 });
  });
});

describe('clients', () => {
  it('say that there is no such VM', () => {
    expect(() => ControlClient.connect('nobody')).toThrow(expect.objectContaining({ code: 'NO_SUCH_VM' }));
    expect(() => ControlClient.connect('../x')).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }));
  });

  it('list VMs by name, those without control socket among them', async () => {
    await serve('two');
    await serve('one');
    using silent = RuntimeDirectory.claim('silent');
    expect(silent.path).toContain('silent');
    const vms = await list({ timeout: 60_000 });
    expect(vms).toMatchObject([
      { name: 'one', state: 'running' },
      { name: 'silent', state: 'unreachable', pid: process.pid },
      { name: 'two', state: 'running' },
    ]);
  });

  it('do not wait for a VM that hangs', async () => {
    const { vm } = await serve();
    vm.gate = new Promise(() => {});
    const signal = AbortSignal.timeout(20);
    await expect(ControlClient.connect('fake').pause({ signal })).rejects.toThrow(
      expect.objectContaining({ code: 'CONTROL_FAILED' }),
    );
  });
});
