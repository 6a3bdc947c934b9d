import { jest } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { VmBuilder } from '@vmm/reference-vmm';
import { GuestShell } from './guest-shell.ts';
import { BOOT_TIMEOUT } from './support.ts';

jest.setTimeout(BOOT_TIMEOUT);

const MIB = 1024 * 1024;

/** Bytes in use of each mapping of this process that is large enough to hold a guest, by its first address. */
function mappings(): ReadonlyMap<string, number> {
  const rows = readFileSync('/proc/self/smaps', 'utf8').matchAll(
    /^([0-9a-f]+)-[0-9a-f]+ .*\nSize: +(\d+) kB\n(?:.*\n){2}Rss: +(\d+) kB$/gm,
  );
  return new Map(
    Array.from(rows, ([, address, size, rss]) => [address!, Number(size), Number(rss) * 1024] as const)
      .filter(([, size]) => size >= 128 * 1024)
      .map(([address, , rss]) => [address, rss]),
  );
}

/**
 * Fills 120 MiB of the guest's memory; tells from then on how much of the mapping that grew by it is
 * in use, in bytes. The whole process would not do: its heap grows and shrinks by as much.
 */
async function fillAndWatch(shell: GuestShell): Promise<() => number> {
  const before = mappings();
  await fill(shell, 120);
  const [address, growth] = Array.from(
    mappings(),
    ([each, rss]) => [each, rss - (before.get(each) ?? 0)] as const,
  ).reduce((most, each) => (each[1] > most[1] ? each : most));
  expect(growth).toBeGreaterThan(50 * MIB);
  return () => mappings().get(address)!;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 50));
}

/** Bytes by name of /proc/meminfo. */
async function meminfo(shell: GuestShell): Promise<ReadonlyMap<string, number>> {
  const rows = (await shell.run('cat /proc/meminfo')).matchAll(/^(\w+): +(\d+) kB$/gm);
  return new Map(Array.from(rows, ([, name, kilobytes]) => [name!, Number(kilobytes) * 1024]));
}

function guest(transport: 'mmio' | 'pci', options: Parameters<VmBuilder['balloon']>[0]): Promise<GuestShell> {
  return GuestShell.start(
    new VmBuilder().hypervisor('wasm').transport(transport).memoryMb(256).balloon(options),
  );
}

/** Fills memory with a file, /touch/file: new pages are zeroed, which takes them from the host. */
async function fill(shell: GuestShell, mebibytes: number): Promise<void> {
  const size = mebibytes * MIB;
  expect(await shell.run(`mkdir -p /touch; mount -t tmpfs -o size=${mebibytes + 1}m tmpfs /touch`)).toBe('');
  expect(await shell.run(`fallocate -l ${size} /touch/file`)).toBe('');
}

describe.each(['mmio', 'pci'] as const)(
  'balloon over %s, stock kernel on the software hypervisor',
  (transport) => {
    it('takes 100 MiB from the guest and from this process, and gives them back', async () => {
      await using shell = await guest(transport, { freePageReporting: false });
      const balloon = shell.vm.balloon!;
      const resident = await fillAndWatch(shell);
      await shell.run('umount /touch');
      const before = { resident: resident(), free: (await meminfo(shell)).get('MemFree')! };
      balloon.setTarget(100 * MIB);
      await until(() => balloon.actual === 100 * MIB);
      const inflated = { resident: resident(), free: (await meminfo(shell)).get('MemFree')! };
      expect(before.free - inflated.free).toBeGreaterThan(95 * MIB);
      expect(before.resident - inflated.resident).toBeGreaterThan(70 * MIB);
      expect(balloon.statistics).toMatchObject({
        inflatedPages: 100 * 256,
        releasedBytes: 100 * MIB,
        refusedPages: 0,
      });

      balloon.setTarget(0);
      await until(() => balloon.actual === 0);
      expect((await meminfo(shell)).get('MemFree')).toBeGreaterThan(inflated.free + 95 * MIB);
      // The pages can be used: they are taken from the host again.
      await fill(shell, 120);
      expect(resident() - inflated.resident).toBeGreaterThan(70 * MIB);
    });

    it('gets back by itself what the guest frees (free page reporting), and statistics tell the same', async () => {
      await using shell = await guest(transport, {});
      const balloon = shell.vm.balloon!;
      const resident = await fillAndWatch(shell);
      const before = resident();
      // Of two looks one after the other: pages that are being reported are nobody's for a while.
      for (let same = false; !same;) {
        const statistics = await balloon.guestStatistics({ timeout: BOOT_TIMEOUT });
        const table = await meminfo(shell);
        expect(statistics.totalMemory).toBe(table.get('MemTotal'));
        same = (
          [
            ['freeMemory', 'MemFree'],
            ['availableMemory', 'MemAvailable'],
            ['diskCaches', 'Cached'],
          ] as const
        ).every(([name, row]) => Math.abs(statistics[name]! - table.get(row)!) < 8 * MIB);
      }
      const reported = balloon.statistics.reportedBytes;
      await shell.run('rm /touch/file');
      // Linux reports two seconds after pages became free.
      await until(() => balloon.statistics.reportedBytes >= reported + 100 * MIB);
      // Among the first that it names may be pages that were free, and untouched, before.
      await until(() => before - resident() > 70 * MIB);
      // What was given back can be used.
      expect(await shell.run('umount /touch')).toBe('');
      await fill(shell, 100);
    });
  },
);

describe('a guest whose balloon is too large', () => {
  it('takes pages back rather than end a program (DEFLATE_ON_OOM)', async () => {
    await using shell = await guest('mmio', { deflateOnOom: true, freePageReporting: false });
    const balloon = shell.vm.balloon!;
    balloon.setTarget(150 * MIB);
    await until(() => balloon.actual === 150 * MIB);
    // A program that needs more than is left.
    await fill(shell, 68);
    expect(await shell.run('wc -c </touch/file; dmesg | grep -c "Out of memory"')).toBe(
      `${68 * MIB}\n0\nexit 1`,
    );
    expect(balloon.actual).toBeLessThan(150 * MIB);
    expect(balloon.statistics.deflatedPages).toBeGreaterThan(0);
  });

  it('names the pages that it does not use (FREE_PAGE_HINT)', async () => {
    await using shell = await guest('mmio', { freePageHinting: true, freePageReporting: false });
    const balloon = shell.vm.balloon!;
    const free = (await meminfo(shell)).get('MemFree')!;
    const ranges: number[] = [];
    const hints = balloon.hintFreePages((list, words) => ranges.push(...list.subarray(0, words)));
    const bytes = await hints.complete;
    expect(bytes).toBeGreaterThan(free / 3);
    expect(bytes).toBeLessThanOrEqual(256 * MIB);
    expect(ranges.filter((_, i) => i % 2 === 1).reduce((sum, each) => sum + each, 0)).toBe(bytes);
    hints[Symbol.dispose]();
    // The guest has its pages back.
    await fill(shell, 100);
  });
});
