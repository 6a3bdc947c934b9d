import { FeatureSet, drainQueue } from './index.ts';
import type { ActivateContext, VirtioDevice } from './index.ts';
import { MockMmioDriver } from './mock/index.ts';

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

describe('a device of thirty lines', () => {
  it('answers buffers through a transport', () => {
    const driver = new MockMmioDriver(new EchoDevice()).start();
    const ring = driver.rings[0]!;
    ring.add([{ readable: 'hello ' }, { readable: 'world' }, { writable: 4 }, { writable: 20 }]);
    expect(driver.kick(0)).toBe(true);
    expect(ring.collect()[0]!.written).toEqual(new TextEncoder().encode('hello world'));
    expect(driver.interrupt.take()).toBe(1);
    expect(driver.errors).toEqual([]);
  });

  it('writes no more than the driver has room for', () => {
    const driver = new MockMmioDriver(new EchoDevice()).start();
    driver.rings[0]!.add([{ readable: 'hello' }, { writable: 2 }]);
    driver.kick(0);
    expect(driver.rings[0]!.collect()[0]).toMatchObject({ length: 2 });
  });
});
