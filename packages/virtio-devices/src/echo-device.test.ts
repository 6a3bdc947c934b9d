import { FeatureSet, drainQueue } from './index.ts';
import type { ActivateContext, VirtioDevice } from './index.ts';
import { DRIVER_COMBINATIONS, startDriver } from './mock/index.ts';

/** Answers each buffer with its own contents. The README shows the same device. */
class EchoDevice implements VirtioDevice {
  readonly type = 42;
  readonly name = 'echo';
  readonly features = FeatureSet.EMPTY;
  readonly queueSizes = [64];
  #context: ActivateContext | undefined;

  activate(context: ActivateContext): void {
    this.#context = context;
  }

  notify(queueIndex: number): void {
    if (this.#context === undefined) return;
    drainQueue(this.#context, queueIndex, ({ reader, writer }) => {
      while (reader.remaining > 0 && writer.remaining > 0) writer.writeSome(reader.take(writer.remaining));
      return writer.position;
    });
  }

  reset(): void {
    this.#context = undefined;
  }
}

describe.each(DRIVER_COMBINATIONS)('a device of thirty lines over $transport with $ring rings', (how) => {
  it('answers buffers', () => {
    const driver = startDriver(new EchoDevice(), how);
    const ring = driver.rings[0]!;
    expect(ring.config.packed).toBe(how.ring === 'packed');
    ring.add([{ readable: 'hello ' }, { readable: 'world' }, { writable: 4 }, { writable: 20 }]);
    expect(driver.kick(0)).toBe(true);
    expect(ring.collect()[0]!.written).toEqual(new TextEncoder().encode('hello world'));
    expect(driver.interrupt.take()).toBe(1);
    expect(driver.errors).toEqual([]);
  });

  it('writes no more than the driver has room for', () => {
    const driver = startDriver(new EchoDevice(), how);
    driver.rings[0]!.add([{ readable: 'hello' }, { writable: 2 }]);
    driver.kick(0);
    expect(driver.rings[0]!.collect()[0]).toMatchObject({ length: 2 });
  });

  it('goes around the ring many times, in order too, with a size that fits the ring', () => {
    for (const inOrder of [false, true]) {
      const driver = startDriver(new EchoDevice(), {
        ...how,
        inOrder,
        queueSize: how.ring === 'packed' ? 7 : 8,
      });
      const ring = driver.rings[0]!;
      for (let i = 0; i < 100; i++) {
        ring.add([{ readable: `${i}` }, { writable: 8 }]);
        ring.add([{ readable: `${i + 1}` }, { writable: 8 }], 'indirect');
        driver.kick(0);
        expect(ring.collect().map(({ written }) => new TextDecoder().decode(written))).toEqual([
          `${i}`,
          `${i + 1}`,
        ]);
      }
      expect(driver.errors).toEqual([]);
    }
  });
});
