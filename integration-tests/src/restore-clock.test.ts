import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Server, createServer } from 'node:tls';
import { jest } from '@jest/globals';
import { VmBuilder, Vmm } from '@vmm/reference-vmm';
import { debianTree } from './guest-program.ts';
import { BOOT_TIMEOUT, Scratch } from './support.ts';

/** Only a hang reaches it. */
jest.setTimeout(2 * BOOT_TIMEOUT);

/** Milliseconds that the guest stands still for: far more than its clock may be wrong by afterwards. */
const STANDSTILL = 5_000;
const RANDOM = ['sh', '-c', 'head -c 32 /dev/urandom | od -An -tx1 | tr -d " \\n"'];

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

async function run(
  vm: Vmm,
  ...argv: readonly string[]
): Promise<{ output: string; code: number | undefined }> {
  const { exit, stdout, stderr } = await vm.exec(argv).output();
  return { output: stdout + stderr, code: 'code' in exit ? exit.code : undefined };
}

/** What the guest's clock says and what the host's did before and after, in seconds. */
async function clocks(vm: Vmm): Promise<{ guest: number; before: number; after: number; uptime: number }> {
  const before = Date.now() / 1000;
  const { output } = await run(vm, 'sh', '-c', 'date +%s; cat /proc/uptime');
  const [guest = NaN, uptime = NaN] = output.split(/\s+/).map(Number);
  return { guest, before, after: Date.now() / 1000, uptime };
}

/** The guest tells whole seconds: it is right within one. */
function expectRight({ guest, before, after }: Awaited<ReturnType<typeof clocks>>): void {
  expect(guest).toBeGreaterThan(before - 2);
  expect(guest).toBeLessThanOrEqual(after + 1);
}

/** A server of the host's whose certificate is valid from now on. */
async function serveTls(): Promise<{ server: Server; port: number; certificate: Buffer }> {
  const [key, certificate] = [join(scratch.path, 'key.pem'), join(scratch.path, 'certificate.pem')];
  execFileSync(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-days',
      '1',
    ].concat([
      '-subj',
      '/CN=host',
      '-addext',
      'subjectAltName=DNS:host',
      '-keyout',
      key,
      '-out',
      certificate,
    ]),
    { stdio: 'ignore' },
  );
  const server = createServer({ key: readFileSync(key), cert: readFileSync(certificate) }, (socket) =>
    socket.on('error', () => undefined).resume(),
  );
  server.on('tlsClientError', () => undefined);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return { server, port: (server.address() as AddressInfo).port, certificate: readFileSync(certificate) };
}

it('a guest that goes on knows the time, trusts a new certificate, and has randomness of its own', async () => {
  const name = `clock-${process.pid}`;
  const snapshot = join(scratch.path, 'snapshot');
  const vm = await new VmBuilder()
    .hypervisor('wasm')
    .name(name)
    .networkDevice({ kind: 'user', hostLoopback: true })
    .guestFiles(await debianTree(['openssl']))
    .command('sleep', '1000000')
    .build();
  try {
    vm.start();
    const first = await clocks(vm);
    expectRight(first);
    const { output: gateway } = await run(
      vm,
      'sh',
      '-c',
      "until ip route | grep -q ^default; do usleep 10000; done; ip route | sed -n 's/^default via \\([0-9.]*\\) .*/\\1/p'",
    );
    expect(gateway).toMatch(/^\d+\.\d+\.\d+\.\d+\n$/);

    await vm.pause();
    await delay(STANDSTILL);
    await vm.resume();
    const resumed = await clocks(vm);
    expectRight(resumed);
    // It was its agent that set it: what the guest counts by itself stood still.
    const missed = resumed.after - first.before - (resumed.uptime - first.uptime);
    expect(missed).toBeGreaterThan(STANDSTILL / 1000 - 0.1);

    await vm.snapshot(snapshot);
    const taken = Math.floor(Date.now() / 1000);
    await vm.stop();
    await delay(STANDSTILL);
    const { server, port, certificate } = await serveTls();
    try {
      const random: string[] = [];
      for (const round of [1, 2]) {
        await using copy = await Vmm.restore(snapshot, { name: `${name}-${round}` });
        expectRight(await clocks(copy));
        // Its kernel takes what it is given at that time, too: this is the same once more.
        await copy.agent.addEntropy(randomBytes(32));
        random.push((await run(copy, ...RANDOM)).output);
        const entry = { type: 'file', path: 'ca.pem', mode: 0o644, uid: 0, gid: 0, mtime: 0 } as const;
        await copy.agent.put('/tmp', [{ ...entry, size: certificate.length, content: [certificate] }]);
        const options =
          '-brief -CAfile /tmp/ca.pem -verify_return_error -servername host -verify_hostname host';
        const client = `openssl s_client -connect ${gateway.trim()}:${port} ${options} </dev/null`;
        const handshake = ['sh', '-c', client];
        expect(await run(copy, ...handshake)).toMatchObject({
          code: 0,
          output: expect.stringContaining('Verification: OK') as string,
        });
        // With a time before the snapshot it would not have been.
        await run(copy, 'date', '-s', `@${taken - 3600}`);
        expect(await run(copy, ...handshake)).toMatchObject({
          code: 1,
          output: expect.stringContaining('certificate is not yet valid') as string,
        });
      }
      expect(random.every((each) => /^[0-9a-f]{64}$/.test(each))).toBe(true);
      expect(random[0]).not.toBe(random[1]);
    } finally {
      server.close();
    }
  } finally {
    await vm[Symbol.asyncDispose]();
  }
});
