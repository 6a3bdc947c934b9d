import { MockMmioDriver } from '../mock/index.ts';
import { VirtioEntropy } from './entropy.ts';

describe('entropy device, VIRTIO 1.3 §5.4', () => {
  it('fills buffers from its source, across descriptors', () => {
    let next = 0;
    const device = new VirtioEntropy({ source: (target) => target.forEach((_, i) => (target[i] = ++next)) });
    const driver = new MockMmioDriver(device).start();
    driver.rings[0]!.add([{ writable: 3 }, { writable: 5 }]);
    driver.kick(0);
    expect([...driver.rings[0]!.collect()[0]!.written]).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(driver.interrupt.take()).toBe(1);
    expect(device.statistics).toEqual({ requests: 1, bytes: 8 });
  });

  it('gives at most what a request may have (§5.4.6.2)', () => {
    const device = new VirtioEntropy({ bytesPerRequest: 16 });
    const driver = new MockMmioDriver(device).start();
    driver.rings[0]!.add([{ writable: 100 }]);
    driver.kick(0);
    expect(driver.rings[0]!.collect()[0]!.length).toBe(16);
  });

  it('takes randomness from the host by default', () => {
    const driver = new MockMmioDriver(new VirtioEntropy()).start();
    for (let i = 0; i < 2; i++) driver.rings[0]!.add([{ writable: 32 }]);
    driver.kick(0);
    const [first, second] = driver.rings[0]!.collect();
    expect(first!.length).toBe(32);
    // Equal by chance once in 2^256 runs.
    expect(first!.written).not.toEqual(second!.written);
  });

  it('gives a buffer without room back empty', () => {
    const driver = new MockMmioDriver(new VirtioEntropy()).start();
    driver.rings[0]!.add([{ readable: 'not for me' }]);
    driver.kick(0);
    expect(driver.rings[0]!.collect()[0]!.length).toBe(0);
  });

  it('needs a reset when its source fails, and hands out nothing', () => {
    const device = new VirtioEntropy({
      source: () => {
        throw new Error('no entropy');
      },
    });
    const driver = new MockMmioDriver(device).start();
    driver.rings[0]!.add([{ writable: 8 }]);
    driver.kick(0);
    expect(driver.needsReset).toBe(true);
    expect(driver.rings[0]!.collect()).toEqual([]);
    expect(driver.errors[0]!.message).toContain('no entropy');
  });

  it.each([0, 65537, 1.5])('refuses %p bytes per request', (bytesPerRequest) => {
    expect(() => new VirtioEntropy({ bytesPerRequest })).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }) as Error,
    );
  });
});
