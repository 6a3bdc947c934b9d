import { describe, expect, it } from '@jest/globals';
import { createWasmHypervisor } from '@vmm/hypervisor/wasm';
import { FeatureSet, type SharedMemoryRegion, type VirtioDevice } from '@vmm/virtio-devices';
import type { AnyHypervisor } from '../hypervisors.ts';
import type { AttachOptions, Machine, TransportKind } from './machine.ts';
import { createMachine } from './platform.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
/** Where arm64 machines have the configuration space of bus 0. */
const ECAM = 0x5000_0000;
const COMMAND = 0x04;
const COMMAND_MEMORY = 2;
const BAR_0 = 0x10;

interface Attached extends AsyncDisposable {
  readonly machine: Machine;
  readonly places: (readonly [number, number | undefined])[];
  attach(sharedMemory?: readonly SharedMemoryRegion[]): void;
}

/** A small machine, and devices that do nothing. */
async function machineWith(transport: TransportKind, virtioDevices = 4): Promise<Attached> {
  const hypervisor: AnyHypervisor = createWasmHypervisor();
  const machine = await createMachine(
    hypervisor,
    { cpus: 1, memory: 64 * MIB, virtioDevices, transport },
    { serialOutput: () => undefined, debug: () => undefined },
  );
  const places: (readonly [number, number | undefined])[] = [];
  const options: AttachOptions = { onSharedMemory: ({ id }, address) => void places.push([id, address]) };
  return {
    machine,
    places,
    attach: (sharedMemory) => void machine.attach(idle(sharedMemory), options),
    [Symbol.asyncDispose]: async () => {
      machine[Symbol.dispose]();
      await machine.vm[Symbol.asyncDispose]();
    },
  };
}

function idle(sharedMemory?: readonly SharedMemoryRegion[]): VirtioDevice {
  return {
    type: 4,
    name: 'idle',
    features: FeatureSet.of(),
    queueSizes: [8],
    ...(sharedMemory && { sharedMemory }),
    activate: () => undefined,
    notify: () => undefined,
    reset: () => undefined,
  };
}

function config(machine: Machine, device: number, register: number): number {
  return machine.mmio.read(ECAM + device * 0x8000 + register, 4);
}

describe('devices of a machine', () => {
  it('are functions of bus 0 in the order in which they were attached, behind the host bridge', async () => {
    await using attached = await machineWith('pci');
    const { machine } = attached;
    attached.attach();
    attached.attach();
    const ids = [0, 1, 2, 3].map((device) => config(machine, device, 0));
    expect(ids.slice(1)).toEqual([0x1044_1af4, 0x1044_1af4, 0xffff_ffff]);
    expect(ids[0]).not.toBe(0xffff_ffff);
    expect(machine.pci?.functions).toHaveLength(3);
    const bars = [1, 2].map((device) => config(machine, device, BAR_0) & ~0xf);
    expect(new Set(bars).size).toBe(2);
    for (const bar of bars) expect(bar).toBeGreaterThanOrEqual(0x6000_0000);
  });

  it('have no PCI bus beside virtio-mmio', async () => {
    await using attached = await machineWith('mmio');
    const { machine } = attached;
    attached.attach();
    expect(machine.pci).toBeUndefined();
    expect(config(machine, 0, 0)).toBe(0);
    expect(machine.mmio.read(0x4003_0000, 4)).toBe(0x7472_6976);
  });

  it.each<TransportKind>(['mmio', 'pci'])(
    'may be more than the hypervisor has shadowed registers for, by %s',
    async (transport) => {
      await using attached = await machineWith(transport, 40);
      const { machine } = attached;
      for (let device = 0; device < 40; device++) attached.attach();
      expect(machine.mmio.read(0x4003_0000 + 39 * 0x1000, 4)).toBe(transport === 'mmio' ? 0x7472_6976 : 0);
      if (transport === 'mmio') return;
      // Beyond 31 devices, function 1 of the first ones.
      expect(machine.pci?.functions).toHaveLength(41);
      expect(machine.mmio.read(ECAM + 0x8000 + 0x1000, 4)).toBe(0x1044_1af4);
    },
  );

  it('have shared memory behind all memory with virtio-mmio, each region where large pages may begin', async () => {
    await using attached = await machineWith('mmio');
    const { machine, places } = attached;
    attached.attach([
      { id: 1, size: 4096 },
      { id: 7, size: 3 * MIB },
    ]);
    attached.attach([{ id: 0, size: 4096 }]);
    const at = 64 * GIB;
    expect(places).toEqual([
      [1, at],
      [7, at + 2 * MIB],
      [0, at + 6 * MIB],
    ]);
    // SHMSel, SHMBase (VIRTIO 1.3 §4.2.2).
    machine.mmio.write(0x4003_00ac, 4, 7);
    expect([machine.mmio.read(0x4003_00b8, 4), machine.mmio.read(0x4003_00bc, 4)]).toEqual([2 * MIB, 16]);
  });

  it('have shared memory on a PCI bus while the guest lets them decode addresses', async () => {
    await using attached = await machineWith('pci');
    const { machine, places } = attached;
    attached.attach([{ id: 3, size: 2 * MIB }]);
    expect(places).toEqual([]);
    machine.mmio.write(ECAM + 0x8000 + COMMAND, 2, COMMAND_MEMORY);
    machine.mmio.write(ECAM + 0x8000 + COMMAND, 2, 0);
    expect(places).toEqual([
      [3, 64 * GIB],
      [3, undefined],
    ]);
  });
});
