import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const SCENARIOS = fileURLToPath(new URL('../../test/tap-scenarios.mjs', import.meta.url));

/** Results of test/tap-scenarios.mjs, which runs in a network namespace of its own. */
const results = new Map<string, unknown>();

beforeAll(async () => {
  const { stdout } = await promisify(execFile)('unshare', ['-n', process.execPath, SCENARIOS]);
  for (const line of stdout.trim().split('\n')) {
    const { name, result, failure } = JSON.parse(line) as {
      name: string;
      result?: unknown;
      failure?: string;
    };
    results.set(name, failure ?? result);
  }
});

describe('a tap interface', () => {
  it('is made, carries frames both ways with the kernel’s checksum offload, and goes with the backend', () => {
    expect(results.get('frames')).toMatchObject({
      description: 'tap t0',
      mtu: 1500,
      up: true,
      // NEEDS_CSUM, csum_start 34, csum_offset 6; num_buffers 3 and 1.
      headers: ['010000000000220006000300', '010000000000220006000100'],
      buffers: [3, 1],
      payloads: ['7'.repeat(1400), 'hi'],
      message: 'from the guest',
      used: 1,
      statistics: { transmittedFrames: 1, transmitDropped: 0 },
      errors: [],
      gone: true,
    });
  });

  it('keeps a frame for which there are too few buffers until there are more, whole and in order', () => {
    expect(results.get('scarceBuffers')).toEqual({ early: 0, intact: true, buffers: 12, next: 'after' });
  });

  it('drops what does not fit one buffer when the driver does not merge', () => {
    expect(results.get('withoutMerging')).toMatchObject({
      payloads: ['fits'],
      statistics: { receiveTooLarge: 1 },
    });
  });

  it('drops frames whose headers the kernel refuses, and goes on', () => {
    expect(results.get('malformed')).toEqual({ refused: 4, message: 'ok', needsReset: false });
  });

  it('filters in the addon as the driver asked', () => {
    expect(results.get('filter')).toEqual({ payloads: ['mine'], filtered: true });
  });

  it('has several queues, and the kernel uses those that the driver set', () => {
    const { counts, queues } = results.get('multiQueue') as { counts: number[][]; queues: string };
    expect(queues).toBe('multi_queue numqueues 1 numdisabled 1');
    expect(counts.map(([first, second]) => first! + second!)).toEqual([12, 12]);
    expect(counts[1]).toEqual([12, 0]);
  });

  it('that is removed takes the link down, and the host hears why', () => {
    expect(results.get('removed')).toEqual({
      code: 'IO_ERROR',
      message: expect.stringMatching(/^tap t\d+: the interface was removed$/) as string,
      linkUp: false,
      used: 1,
    });
  });

  it('loses its carrier while the link is down', () => {
    expect(results.get('carrier')).toEqual({ before: true, down: false, after: true });
  });

  it('has an address that follows from the guest’s when it is made, and its own when it was there', () => {
    expect(results.get('addresses')).toEqual({
      kept: true,
      made: 'fe:00:00:00:00:02',
      above: 'fa:00:00:00:00:07',
      restored: 'fa:00:00:00:00:07',
    });
  });

  it('takes interfaces that exist, of one or several queues', () => {
    expect(results.get('names')).toMatchObject({
      existing: { name: 'single' },
      existingMultiQueue: { name: 'many' },
      twoQueues: { name: 'many' },
      persistent: true,
      wasKept: true,
    });
  });

  it('says what to do when it cannot be had', () => {
    expect(results.get('names')).toMatchObject({
      twoQueuesOfOne: {
        code: 'IN_USE',
        message: expect.stringContaining(
          'ip tuntap add dev single mode tap user $USER vnet_hdr multi_queue',
        ) as string,
      },
      inUse: {
        code: 'IN_USE',
        message: 'tap held: another process has the interface: end it, or take another name',
      },
      noTap: { code: 'IN_USE', message: expect.stringContaining('no tap') as string },
      bad: { code: 'INVALID_OPTION' },
      long: { code: 'INVALID_OPTION' },
      forbidden: { code: 'ACCESS_DENIED' },
      forbiddenExisting: { code: 'ACCESS_DENIED' },
    });
  });
});
