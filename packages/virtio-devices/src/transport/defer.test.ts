import type { VirtioDevice } from '../device.ts';
import { FeatureSet } from '../features.ts';
import { MockMmioDriver } from '../mock/index.ts';
import * as mmio from './mmio-registers.ts';
import { deferToNextTurn } from './defer.ts';
import type { VirtioTransportCore } from './core.ts';
import type { TransportOptions } from './types.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function work(milliseconds: number): void {
  const end = performance.now() + milliseconds;
  while (performance.now() < end) Math.random();
}

describe('what devices put off', () => {
  it('runs in order, what takes little in one turn of the event loop', async () => {
    const ran: number[] = [];
    for (let i = 0; i < 40; i++) deferToNextTurn(() => ran.push(i));
    expect(ran).toEqual([]);
    for (let turns = 0; ran.length < 40; turns++) {
      expect(turns).toBeLessThan(40);
      await turn();
    }
    expect(ran).toEqual(Array.from({ length: 40 }, (_, i) => i));
  });

  it('leaves the rest to the next turn once it has worked for 5 ms', async () => {
    const ran: number[] = [];
    for (let i = 0; i < 8; i++) {
      deferToNextTurn(() => {
        work(3);
        ran.push(i);
      });
    }
    for (let turns = 0; ran.length < 8; turns++) {
      expect(turns).toBeLessThan(8);
      const before = ran.length;
      await turn();
      expect([1, 2]).toContain(ran.length - before);
    }
    expect(ran).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  it('comes in a later turn when a task puts it off', async () => {
    const ran: string[] = [];
    deferToNextTurn(() => {
      ran.push('first');
      deferToNextTurn(() => ran.push('second'));
    });
    await turn();
    expect(ran).toEqual(['first']);
    await turn();
    expect(ran).toEqual(['first', 'second']);
  });
});

describe('notifications of many queues', () => {
  /** A device whose every notification means 3 ms of work. */
  class BusyDevice implements VirtioDevice {
    readonly type = 42;
    readonly name = 'busy';
    readonly features = FeatureSet.EMPTY;
    readonly queueSizes: readonly number[] = Array.from({ length: 16 }, () => 8);
    readonly served: number[] = [];
    activate(): void {}
    notify(index: number): void {
      work(3);
      this.served.push(index);
    }
    reset(): void {}
  }

  function startDevice(options: Partial<TransportOptions>): {
    device: BusyDevice;
    core: VirtioTransportCore;
    notifyAll: () => void;
  } {
    const device = new BusyDevice();
    const { transport } = new MockMmioDriver(device, { transport: options }).start();
    return {
      device,
      core: transport.core,
      notifyAll: () =>
        device.queueSizes.forEach((_, index) => transport.write(mmio.VIRTIO_MMIO_QUEUE_NOTIFY, 4, index)),
    };
  }

  it('do not all keep one turn, and each is served', async () => {
    const { device, core, notifyAll } = startDevice({ defer: undefined });
    deferToNextTurn(() => undefined);
    await turn();
    expect(core.pending).toBe(false);
    notifyAll();
    expect(device.served.length).toBeLessThanOrEqual(2);
    expect(core.pending).toBe(true);
    for (let turns = 0; device.served.length < 16; turns++) {
      expect(turns).toBeLessThan(16);
      const before = device.served.length;
      await turn();
      expect([1, 2]).toContain(device.served.length - before);
    }
    expect(device.served).toEqual([...device.queueSizes.keys()]);
    expect(core.pending).toBe(false);
  });

  it('are served at once where the host has a scheduler of its own', () => {
    const { device, notifyAll } = startDevice({ defer: deferToNextTurn });
    notifyAll();
    expect(device.served).toHaveLength(16);
  });
});
