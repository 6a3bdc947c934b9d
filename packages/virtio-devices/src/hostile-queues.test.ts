import { brokenChains } from '@vmm/virtio-queue/mock';
import type { MockBuffer } from '@vmm/virtio-queue/mock';
import { BASE, Battle, QUEUE_SIZE, REGION } from '../test/battle.ts';
import { SUBJECTS } from '../test/hostile-subjects.ts';

/** What a chain is does not depend on the transport. */
const COMBINATIONS = [
  { transport: 'mmio', ring: 'split' },
  { transport: 'pci', ring: 'packed' },
] as const;

/** Chains that every ring takes, and that most devices cannot make sense of. */
const STRANGE: readonly { readonly name: string; readonly buffers: readonly MockBuffer[] }[] = [
  { name: 'one byte to read', buffers: [{ readable: [0xff] }] },
  { name: 'one byte to write: no header', buffers: [{ writable: 1 }] },
  { name: 'nothing', buffers: [{ address: 0, size: 0, isWritable: false }] },
  { name: 'nothing to write', buffers: [{ address: 0, size: 0, isWritable: true }] },
  { name: 'a header without room for an answer', buffers: [{ readable: new Uint8Array(44) }] },
  { name: 'a header of 0xff', buffers: [{ readable: new Uint8Array(128).fill(0xff) }, { writable: 1 }] },
  { name: 'a header cut to pieces', buffers: [...new Uint8Array(6)].map(() => ({ readable: [0] })) },
  { name: 'all of memory to read', buffers: [{ address: BASE, size: REGION, isWritable: false }] },
  {
    name: 'all of memory to read, eight times',
    buffers: Array.from({ length: QUEUE_SIZE }, () => ({ address: BASE, size: REGION, isWritable: false })),
  },
  {
    name: 'the last bytes of memory to write',
    buffers: [{ readable: new Uint8Array(40) }, { address: BASE + REGION - 17, size: 17, isWritable: true }],
  },
];

describe.each(SUBJECTS)('$name with a hostile driver', ({ make }) => {
  const queues = make().device.queueSizes.map((_, queue) => queue);

  describe.each(COMBINATIONS)('over $transport with $ring rings', (how) => {
    const broken = brokenChains({ packed: how.ring === 'packed', indirect: true });

    describe.each(queues)('in queue %i', (queue) => {
      it.each(broken)('needs a reset after $name', async ({ code, add }) => {
        const battle = new Battle(make, how);
        const { driver, subject } = battle;
        driver.start();
        add(driver.rings[queue]!);
        driver.rings[queue]!.publish();
        subject.wake?.(driver, queue);
        subject.stir();
        driver.notify(queue);
        await battle.settle();
        expect(driver.needsReset).toBe(true);
        expect(driver.errors).toMatchObject([{ code: 'DRIVER_FAULT', cause: { code } }]);
        expect(driver.acknowledge() & 2).toBe(2);
        driver.interrupt.take();
        subject.stir();
        for (const each of queues) driver.notify(each);
        await battle.settle();
        expect(driver.interrupt.take()).toBe(0);
        expect(await battle.worksAfterReset()).toBe(true);
      });

      it.each(STRANGE)('answers, keeps or refuses $name', async ({ buffers }) => {
        const battle = new Battle(make, how);
        const { driver, subject } = battle;
        driver.start();
        driver.rings[queue]!.add(buffers);
        driver.rings[queue]!.publish();
        subject.wake?.(driver, queue);
        subject.stir();
        driver.notify(queue);
        await battle.settle();
        expect(driver.rings[queue]!.collect().length).toBeLessThanOrEqual(1);
        expect(driver.errors).toHaveLength(driver.needsReset ? 1 : 0);
        expect(await battle.worksAfterReset()).toBe(true);
      });
    });
  });
});
