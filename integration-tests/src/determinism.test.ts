import { readFileSync } from 'node:fs';
import { jest } from '@jest/globals';
import { aarch64 } from '@vmm/arch';
import { createWasmHypervisor } from '@vmm/hypervisor/wasm';
import { createVmGicV3 } from '@vmm/irqchip';
import { Bus } from '@vmm/vm-device';
import { GuestMemory } from '@vmm/vm-memory';
import { Pl011 } from '@vmm/vm-superio';
import { BOOT_TIMEOUT, guest, initrdWith, sha256 } from './support.ts';

jest.setTimeout(2 * BOOT_TIMEOUT);

const MIB = 1024 * 1024;

/**
 * Instructions from reset to power-off by the kernel with this hash and the initial RAM filesystem below. A
 * change of the CPU's behaviour or of the machine's description changes the figure, and then this table.
 */
const KNOWN_COUNTS: Readonly<Record<string, number>> = {
  // linux-image-6.1.0-56-cloud-arm64 6.1.192-2
  d418ce578d1c70b65bd5f3688c4ffbe97307cb48cf49270155af974931626047: 242_085_016,
};

interface Run {
  readonly instructions: number;
  readonly output: string;
}

/** A boot on the calling thread, with a clock that counts instructions: nothing of the host reaches it. */
async function boot(kernel: Uint8Array, initrd: Uint8Array): Promise<Run> {
  await using vm = await createWasmHypervisor().createVm({
    vcpus: 1,
    maxMemory: 128 * MIB,
    clock: 'instructions',
  });
  const regions = aarch64.memoryRegions(128 * MIB);
  const memory = new GuestMemory(regions.map(({ guestAddress, size }) => vm.mapMemory(guestAddress, size)));
  const gic = { distributor: aarch64.GICD.guestAddress, redistributor: aarch64.GICR.guestAddress };
  const chip = createVmGicV3(vm, { vcpus: 1, ...gic, irqs: aarch64.interruptIdentifiers(0) });
  let output = '';
  const uart = new Pl011({
    interrupt: chip.createLine(aarch64.PL011_INTID - aarch64.SPI_BASE, 'level'),
    output: (bytes) => {
      output += Buffer.from(bytes).toString('latin1');
    },
  });
  const bus = new Bus();
  bus.register(aarch64.PL011.guestAddress, aarch64.PL011.size, uart, 'PL011');
  const loaded = await aarch64.loadKernel(memory, kernel, { initrd });
  const tree = aarch64.buildDeviceTree({
    memory: regions,
    vcpus: 1,
    gic: { version: 3, ...gic },
    cmdline: 'console=ttyAMA0 quiet panic=-1 cryptomgr.notests',
    initrd: loaded.initrd,
    uart: { address: aarch64.PL011.guestAddress, intid: aarch64.PL011_INTID },
    rngSeed: new Uint8Array(64).fill(7),
  });
  const vcpu = aarch64.configureBootCpu(vm.createVcpu(0), {
    entry: loaded.entry,
    deviceTree: aarch64.loadDeviceTree(memory, loaded, tree),
  });
  for (;;) {
    const exit = vcpu.run();
    if (exit.reason === 'mmio') {
      if (exit.write) bus.write(exit.address, exit.length, exit.value, exit.valueHigh);
      else {
        exit.value = bus.read(exit.address, exit.length);
        exit.valueHigh = bus.readHigh;
      }
    } else if (exit.reason === 'systemEvent') {
      uart.flush();
      expect(exit.event).toBe('shutdown');
      return { instructions: vcpu.instructionCount(), output };
    } else {
      throw new Error(`unexpected exit: ${JSON.stringify(exit)}\n${output}`);
    }
  }
}

describe('with the instruction clock', () => {
  it('a boot of the stock kernel to power-off is the same, instruction by instruction, every time', async () => {
    const kernel = readFileSync((await guest()).kernel);
    const initrd = await initrdWith('uname -r; echo $((6 * 7)); poweroff -f');
    const first = await boot(kernel, initrd);
    const second = await boot(kernel, initrd);
    expect(first.output).toMatch(/^42\r?$/m);
    expect(second).toEqual(first);
    const known = KNOWN_COUNTS[sha256(kernel)];
    process.stdout.write(`kernel ${sha256(kernel)}: ${first.instructions} instructions\n`);
    if (known !== undefined) expect(first.instructions).toBe(known);
  });
});
