import { request } from 'node:http';
import type { SnapshotOptions } from '../snapshot/restore.ts';
import type { SnapshotInfo } from '../snapshot/save.ts';
import { TestServer } from '../../test/control-server.ts';
import { VmmError } from '../errors.ts';

const INFO: SnapshotInfo = { directory: '/var/tmp/x', kind: 'full', memoryBytes: 4096, pause: 1.5 };

/** Snapshots that a VM is asked for, each of which ends when it is told to. */
class Snapshots {
  readonly asked: { readonly directory: string; readonly options: SnapshotOptions; end(): void }[] = [];
  #wake: () => void = () => undefined;

  readonly snapshot = async (directory: string, options: SnapshotOptions): Promise<SnapshotInfo> => {
    await new Promise<void>((resolve) => {
      this.asked.push({ directory, options, end: resolve });
      this.#wake();
    });
    return { ...INFO, directory };
  };

  async count(count: number): Promise<void> {
    while (this.asked.length < count) await new Promise<void>((resolve) => (this.#wake = resolve));
  }
}

describe('POST /v1/snapshot', () => {
  let server: TestServer;
  let snapshots: Snapshots;

  beforeEach(async () => {
    server = await TestServer.start();
    snapshots = new Snapshots();
    Object.assign(server.vm, { snapshot: snapshots.snapshot });
  });
  afterEach(() => server[Symbol.asyncDispose]());

  it('is answered when it is there, and tells meanwhile how far it is', async () => {
    const { client } = server;
    expect((await client.stats()).snapshot).toBeNull();
    const answer = client.snapshot({ directory: '/var/tmp/x', base: '/var/tmp/base', track: true });
    await snapshots.count(1);
    const [{ directory, options, end }] = snapshots.asked as [(typeof snapshots.asked)[number]];
    expect([directory, options.base, options.track]).toEqual(['/var/tmp/x', '/var/tmp/base', true]);
    options.onProgress?.(3, 7);
    expect((await client.stats()).snapshot).toEqual({ written: 3, total: 7 });
    end();
    expect(await answer).toEqual(INFO);
    expect((await client.stats()).snapshot).toBeNull();
  });

  it('takes absolute paths, and nothing that it does not know', async () => {
    const { client } = server;
    for (const body of [
      { directory: 'relative' },
      { directory: '' },
      { directory: '/x\0y' },
      { directory: `/${'x'.repeat(5000)}` },
      { directory: '/x', base: '../y' },
      { directory: '/x', track: 'yes' as unknown as boolean },
      { directory: '/x', more: 1 },
      {} as { directory: string },
    ])
      await expect(client.snapshot(body)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
    expect(snapshots.asked).toEqual([]);
  });

  it('is made although the client has gone', async () => {
    const asked = request({ socketPath: server.path, method: 'POST', path: '/v1/snapshot' });
    asked.on('error', () => undefined).end(JSON.stringify({ directory: '/var/tmp/x' }));
    await snapshots.count(1);
    asked.destroy();
    const { options, end } = snapshots.asked[0]!;
    expect(options.signal).toBeUndefined();
    // What comes next is served, and sees it still at work.
    options.onProgress?.(1, 2);
    expect((await server.client.stats()).snapshot).toEqual({ written: 1, total: 2 });
    end();
    while ((await server.client.stats()).snapshot !== null);
  });

  it('that fails says why, as the VM told it', async () => {
    const failure = new VmmError(
      'SNAPSHOT_FAILED',
      'the snapshot /x cannot be written: ENOSPC: no space left',
    );
    Object.assign(server.vm, { snapshot: () => Promise.reject(failure) });
    await expect(server.client.snapshot({ directory: '/x' })).rejects.toMatchObject({
      code: 'SNAPSHOT_FAILED',
      message: failure.message,
    });
    Object.assign(server.vm, { snapshot: undefined });
    await expect(server.client.snapshot({ directory: '/x' })).rejects.toMatchObject({
      code: 'NOT_SUPPORTED',
    });
  });
});
