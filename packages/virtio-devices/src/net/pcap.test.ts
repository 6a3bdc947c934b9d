import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { bytesOf, frameOf, NetRig, TestBackend } from '../../test/net-rig.ts';
import { PcapFile } from '../node/net-pcap.ts';
import { PcapRecorder } from './pcap-recorder.ts';

let directory = '';
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'pcap-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

/** What tcpdump reads in a recording: time, link-level header and all bytes, a block for each frame. */
function tcpdump(path: string): string[] {
  const text = execFileSync('tcpdump', ['-r', path, '-n', '-e', '-tt', '-xx', '--micro'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return text.split(/\n(?=\d)/).filter((block) => block !== '');
}

function bytesIn(block: string): Uint8Array {
  const hex = [...block.matchAll(/0x[0-9a-f]{4}: {2}([0-9a-f ]+)/g)].map(([, line]) =>
    line!.replaceAll(' ', ''),
  );
  return Uint8Array.from(Buffer.from(hex.join(''), 'hex'));
}

describe('a recording', () => {
  it('holds the frames of both directions in order, as tcpdump reads them', () => {
    const path = join(directory, 'both.pcapng');
    const backend = new TestBackend();
    {
      using file = new PcapFile(path);
      const recorder = new PcapRecorder(backend, { sink: file.sink, now: () => 1_700_000_000_123_456 });
      const rig = new NetRig(recorder);
      rig.lend(8, 50);
      rig.send(frameOf(61, 1));
      backend.push(frameOf(120, 2));
      rig.send(frameOf(14, 3));
      expect(rig.received()).toHaveLength(1);
      expect(recorder.frames).toBe(3);
    }
    const blocks = tcpdump(path);
    expect(blocks.map(bytesIn)).toEqual([frameOf(61, 1), frameOf(120, 2), frameOf(14, 3)]);
    expect(blocks[0]).toMatch(/^1700000000\.123456 02:00:00:00:00:99 > 02:00:00:00:00:01/);
  });

  it('keeps the start of each frame only, when asked, and says how long it was', () => {
    const path = join(directory, 'short.pcapng');
    using file = new PcapFile(path);
    const rig = new NetRig(new PcapRecorder(new TestBackend(), { sink: file.sink, snapLength: 64 }));
    rig.send(frameOf(1000));
    const [block] = tcpdump(path);
    expect(bytesIn(block!)).toEqual(frameOf(1000).subarray(0, 64));
    expect(block).toContain('length 1000');
  });

  it('any frame comes back, wherever the buffers end', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 14, max: 400 }), { minLength: 1, maxLength: 5 }),
        fc.integer({ min: 12, max: 100 }),
        (lengths, size) => {
          const path = join(directory, 'any.pcapng');
          const backend = new TestBackend();
          using file = new PcapFile(path);
          const rig = new NetRig(
            new PcapRecorder(backend, { sink: file.sink }),
            { queueSize: 256 },
            { queueSize: 256 },
          );
          rig.lend(200, size);
          for (const [index, length] of lengths.entries()) backend.push(frameOf(length, index));
          expect(tcpdump(path).map(bytesIn)).toEqual(lengths.map((length, index) => frameOf(length, index)));
        },
      ),
      { numRuns: 10 },
    );
  });

  it('records what passed only: not what waits, is filtered, or comes again', () => {
    const backend = new TestBackend();
    const chunks: Uint8Array[] = [];
    const recorder = new PcapRecorder(backend, { sink: (bytes) => chunks.push(bytes.slice()) });
    const rig = new NetRig(recorder);
    rig.command(0, 0, [0]);
    backend.capacity = 0;
    rig.send(frameOf(60));
    expect(recorder.frames).toBe(0);
    backend.resume();
    expect(recorder.frames).toBe(1);
    rig.lend(2, 100);
    backend.push(frameOf(60, 0, '02:00:00:00:00:55'));
    expect(recorder.frames).toBe(1);
    expect(bytesOf('02:00:00:00:00:99')).toEqual(chunks[1]!.slice(34, 40));
  });

  it('is the backend that it records, to the device', () => {
    const backend = new TestBackend({ offloads: [1, 7], pairs: 2, mtu: 4000 });
    const recorder = new PcapRecorder(backend, { sink: () => undefined });
    expect(recorder).toMatchObject({
      description: backend.description,
      offloads: backend.offloads,
      maximumQueuePairs: 2,
      mtu: 4000,
    });
    const rig = new NetRig(recorder, { queuePairs: 2 });
    rig.device.setLink(false);
    expect(backend.links).toEqual([false]);
    expect(() => new PcapRecorder(backend, { sink: () => undefined, snapLength: 10 })).toThrow(/snapLength/);
  });

  it('an error of the file ends the recording and nothing else', () => {
    using file = new PcapFile('/dev/full');
    const rig = new NetRig(new PcapRecorder(new TestBackend(), { sink: file.sink }));
    expect(rig.send(frameOf(60))).toBe(1);
    expect(file.error).toMatchObject({ code: 'ENOSPC' });
    expect(() => new PcapFile(join(directory, 'no', 'such'))).toThrow(
      expect.objectContaining({ code: 'IO_ERROR' }),
    );
  });
});
