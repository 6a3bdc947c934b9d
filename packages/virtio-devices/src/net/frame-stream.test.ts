import { readFileSync } from 'node:fs';
import { answerPings as compiled } from '../../examples/answer-pings.ts';
import { frameOf, header, NetRig } from '../../test/net-rig.ts';
import { FrameStream } from './frame-stream.ts';
import { internetChecksum } from './header.ts';
import { VirtioNet } from './net.ts';

/** The example's types are those of the compiled package. */
const answerPings = compiled as unknown as (
  nic: FrameStream,
  mac: Uint8Array,
  address: Uint8Array,
) => Promise<void>;

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('a frame stream', () => {
  it('gives the guest’s frames, before and after the loop began, each in memory of its own', async () => {
    const rig = new NetRig(new FrameStream());
    rig.send(frameOf(60, 1));
    rig.send(frameOf(60, 2));
    const got: Uint8Array[] = [];
    for await (const frame of rig.backend) {
      got.push(frame);
      if (got.length === 2) setImmediate(() => rig.send(frameOf(60, 3)));
      if (got.length === 3) break;
    }
    expect(got).toEqual([frameOf(60, 1), frameOf(60, 2), frameOf(60, 3)]);
    expect(rig.backend.statistics).toMatchObject({ received: 3, receiveDropped: 0 });
  });

  it('sends frames to the guest, also those from before there was a driver', () => {
    const nic = new FrameStream();
    expect(nic.send(frameOf(60, 1))).toBe(true);
    const rig = new NetRig(nic);
    rig.lend(4, 100);
    nic.send(frameOf(60, 2));
    expect(rig.received().map(({ frame }) => frame)).toEqual([frameOf(60, 1), frameOf(60, 2)]);
    expect(nic.statistics).toMatchObject({ sent: 2 });
  });

  it('drops and counts what does not fit its queues, oldest first served', async () => {
    const rig = new NetRig(new FrameStream({ sendQueue: 2, receiveQueue: 3 }));
    expect([1, 2, 3].map((seed) => rig.backend.send(frameOf(60, seed)))).toEqual([true, true, false]);
    for (let seed = 0; seed < 5; seed++) expect(rig.send(frameOf(60, seed))).toBe(1);
    expect(rig.backend.statistics).toMatchObject({ sendDropped: 1, receiveDropped: 2 });
    const seeds: number[] = [];
    for await (const frame of rig.backend) {
      seeds.push(frame[20]! - 20);
      if (seeds.length === 3) break;
    }
    expect(seeds).toEqual([0, 1, 2]);
    rig.lend(4, 100);
    expect(rig.received()).toHaveLength(2);
    expect(rig.device.statistics.transmitDropped).toBe(2);
  });

  it('drained() resolves when the guest has taken frames', async () => {
    const rig = new NetRig(new FrameStream({ sendQueue: 1 }));
    await rig.backend.drained();
    rig.backend.send(frameOf(60));
    let drained = false;
    const wait = rig.backend.drained().then(() => (drained = true));
    await settled();
    expect(drained).toBe(false);
    rig.lend(1, 100);
    await wait;
    expect(rig.backend.send(frameOf(60))).toBe(true);
  });

  it('a signal ends the loop after what waits, and the link goes down', async () => {
    const controller = new AbortController();
    const rig = new NetRig(new FrameStream({ signal: controller.signal }));
    rig.send(frameOf(60, 1));
    controller.abort();
    const got: Uint8Array[] = [];
    for await (const frame of rig.backend) got.push(frame);
    expect(got).toHaveLength(1);
    expect(rig.device.linkUp).toBe(false);
    expect(rig.backend.send(frameOf(60))).toBe(false);
    expect(rig.send(frameOf(60))).toBe(1);
    await rig.backend.drained();
    const aborted = new FrameStream({ signal: AbortSignal.abort() });
    expect(new VirtioNet({ backend: aborted }).linkUp).toBe(false);
  });

  it('close() ends a loop that waits', async () => {
    const nic = new FrameStream();
    const loop = (async (): Promise<number> => {
      let count = 0;
      for await (const frame of nic) count += frame.length;
      return count;
    })();
    await settled();
    nic.close();
    nic.close();
    expect(await loop).toBe(0);
  });

  it('has one reader at a time; leaving the loop lets another begin', async () => {
    const rig = new NetRig(new FrameStream());
    const first = rig.backend[Symbol.asyncIterator]();
    expect(() => rig.backend[Symbol.asyncIterator]()).toThrow(
      expect.objectContaining({ code: 'WRONG_STATE' }),
    );
    const waiting = first.next();
    await first.return!();
    expect(await waiting).toEqual({ done: true, value: undefined });
    rig.send(frameOf(60, 5));
    const second = await rig.backend[Symbol.asyncIterator]().next();
    expect(second.value).toEqual(frameOf(60, 5));
  });

  it('refuses frames of impossible sizes, options out of range and a second device', () => {
    const nic = new FrameStream();
    expect(() => nic.send(new Uint8Array(13))).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    expect(() => nic.send(new Uint8Array(65561))).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    );
    expect(() => new FrameStream({ sendQueue: 0 })).toThrow(/sendQueue/);
    expect(() => new FrameStream({ mtu: 1 })).toThrow(/mtu/);
    new VirtioNet({ backend: nic });
    expect(() => new VirtioNet({ backend: nic })).toThrow(expect.objectContaining({ code: 'WRONG_STATE' }));
  });

  it('drops frames with senseless headers', async () => {
    const rig = new NetRig(new FrameStream());
    rig.send(frameOf(60), header({ flags: 1, csumStart: 60, csumOffset: 60 }));
    rig.send(frameOf(60, 3));
    for await (const frame of rig.backend) {
      expect(frame).toEqual(frameOf(60, 3));
      break;
    }
  });
});

describe('the example that answers pings', () => {
  const MAC = [2, 0, 0, 0, 0, 9];
  const GUEST = [2, 0, 0, 0, 0, 1];
  const HOST_IP = [10, 0, 0, 1];
  const GUEST_IP = [10, 0, 0, 2];

  it('answers ARP and echo requests for its address, with a right checksum, and nothing else', async () => {
    const rig = new NetRig(new FrameStream());
    void answerPings(rig.backend, Uint8Array.from(MAC), Uint8Array.from(HOST_IP));
    rig.lend(8, 200);
    const arp = (address: readonly number[]): Uint8Array =>
      Uint8Array.from([
        ...[255, 255, 255, 255, 255, 255, ...GUEST, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
        ...[...GUEST, ...GUEST_IP, 0, 0, 0, 0, 0, 0, ...address],
      ]);
    const echo = Uint8Array.from([
      ...[...MAC, ...GUEST, 8, 0, 0x45, 0, 0, 32, 0, 0, 0, 0, 64, 1, 0, 0, ...GUEST_IP, ...HOST_IP],
      ...[8, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4],
    ]);
    const sum = internetChecksum(echo, 34, echo.length);
    echo[36] = sum >> 8;
    echo[37] = sum & 0xff;
    for (const frame of [arp([10, 0, 0, 3]), arp(HOST_IP), echo, new Uint8Array(20)]) rig.send(frame);
    await settled();
    const frames = rig.received().map(({ frame }) => frame);
    expect(frames).toHaveLength(2);
    expect([...frames[0]!]).toEqual([
      ...[...GUEST, ...MAC, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2, ...MAC, ...HOST_IP, ...GUEST, ...GUEST_IP],
    ]);
    expect([...frames[1]!.subarray(0, 12)]).toEqual([...GUEST, ...MAC]);
    expect([...frames[1]!.subarray(26, 35)]).toEqual([...HOST_IP, ...GUEST_IP, 0]);
    expect(internetChecksum(frames[1]!, 34, frames[1]!.length)).toBe(0);
  });

  it('is on the page', () => {
    const example = readFileSync(new URL('../../examples/answer-pings.ts', import.meta.url), 'utf8');
    expect(readFileSync(new URL('../../docs/net.md', import.meta.url), 'utf8')).toContain(example);
  });
});
