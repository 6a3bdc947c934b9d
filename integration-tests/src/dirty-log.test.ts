import { jest } from '@jest/globals';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { VmConfig } from '@vmm/hypervisor';
import { type WasmVm, createWasmHypervisor } from '@vmm/hypervisor/wasm';
import { VmBuilder } from '@vmm/reference-vmm';
import { BOOT_TIMEOUT, Scratch } from './support.ts';

jest.setTimeout(BOOT_TIMEOUT);

const PAGE = 4096;
const MIB = 1024 * 1024;
const ROUNDS = 8;

/** Stores by vCPUs and by the host, through block, file system, console and balloon (which reports free pages). */
const WORK = `
  while true; do
    dd if=/dev/vda of=/tmp/x bs=64k count=20 2>/dev/null
    dd if=/dev/urandom of=/dev/vda bs=4k count=20 2>/dev/null
    dd if=/mnt/file of=/tmp/y bs=64k count=20 2>/dev/null
    rm /tmp/x /tmp/y
    echo done
  done`;

/** A software hypervisor that shows the VM it makes. */
class Watched {
  readonly hypervisor = createWasmHypervisor();
  vm: WasmVm | undefined;

  constructor() {
    const create = this.hypervisor.createVm.bind(this.hypervisor);
    this.hypervisor.createVm = async (config: VmConfig) => (this.vm = await create(config));
  }
}

function has(bits: Uint32Array, page: number): boolean {
  return ((bits[page >>> 5]! >>> (page & 31)) & 1) !== 0;
}

it.each([
  ['mmio', 'split', 1],
  ['pci', 'packed', 2],
] as const)(
  'a copy that is kept by dirty pages is the memory of a guest that works with all its devices: %s, %s rings, %d vCPUs',
  async (transport, ring, cpus) => {
    using scratch = new Scratch();
    const disk = scratch.file('disk', new Uint8Array(4 * MIB).fill(3));
    const shared = scratch.file('shared');
    mkdirSync(shared);
    writeFileSync(join(shared, 'file'), new Uint8Array(2 * MIB).fill(5));
    const watched = new Watched();
    await using vm = await new VmBuilder()
      .host({ hypervisor: watched.hypervisor })
      .memoryMb(128)
      .cpus(cpus)
      .transport(transport)
      .ring(ring)
      .blockDevice(disk, {})
      .shareDirectory(shared, { tag: 'shared', mountPoint: '/mnt' })
      .balloon({})
      .command('sh', '-c', WORK)
      .build();
    const { regions } = watched.vm!;
    vm.start();
    let output = 0;
    vm.streams!.stdout.on('data', (chunk: Uint8Array) => (output += chunk.length));
    const worked = async (): Promise<void> => {
      const before = output;
      while (output === before) await new Promise((resolve) => setTimeout(resolve, 10));
    };
    await worked();

    await vm.pause();
    const bitmap = vm.memory.enableDirtyTracking();
    watched.vm!.startDirtyLog();
    const copies = regions.map(({ bytes }) => Buffer.from(bytes));
    const missed: string[] = [];
    let byHost = 0;
    for (let round = 0; round < ROUNDS; round++) {
      await vm.resume();
      await worked();
      await vm.pause();
      const stored = regions.map((region) => watched.vm!.takeDirtyPages(region));
      regions.forEach(({ guestAddress }, index) => bitmap.merge(guestAddress, stored[index]!));
      for (const [index, { bits, guestAddress }] of vm.memory.takeDirty().entries()) {
        const now = Buffer.from(regions[index]!.bytes);
        const copy = copies[index]!;
        for (let at = 0; at < now.length; at += PAGE) {
          if (has(bits, at / PAGE)) {
            if (!has(stored[index]!, at / PAGE)) byHost++;
            now.copy(copy, at, at, at + PAGE);
          } else if (now.compare(copy, at, at + PAGE, at, at + PAGE) !== 0) {
            missed.push(`0x${(guestAddress + at).toString(16)} in round ${round}`);
          }
        }
      }
    }
    expect(missed).toEqual([]);
    // Devices store to pages that no vCPU stores to.
    expect(byHost).toBeGreaterThan(0);
    await vm.stop();
  },
);
