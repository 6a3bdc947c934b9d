import type { GicState, GicV2Config, HypervisorGic } from '@vmm/hypervisor';
import { createVmGicV2, createVmGicV3 } from '../src/index.ts';

interface Rig {
  readonly chip: ReturnType<typeof createVmGicV2>;
  readonly configs: GicV2Config[];
  readonly levels: [number, boolean][];
  restored(): GicState | undefined;
}

function rig(options: { vcpus?: number; irqs?: number } = {}): Rig {
  const configs: GicV2Config[] = [];
  const levels: [number, boolean][] = [];
  let restored: GicState | undefined;
  const gic: HypervisorGic = {
    version: 2,
    setSpi: (intid, level) => void levels.push([intid, level]),
    pulseSpi: (intid) => void levels.push([intid, true], [intid, false]),
    save: () => ({ version: 3, model: 'fake', opaque: Uint8Array.of(9) }),
    restore: (state) => void (restored = state),
  };
  const vm = {
    createGicV2: (config: GicV2Config): HypervisorGic => {
      configs.push(config);
      return gic;
    },
  };
  const chip = createVmGicV2(vm, {
    distributor: 0x4000_0000,
    cpuInterface: 0x4001_0000,
    vcpus: 3,
    ...options,
  });
  return { chip, configs, levels, restored: () => restored };
}

describe('GICv2 of a VM', () => {
  it('is made by the hypervisor and describes itself for a device tree', () => {
    const { chip, configs } = rig({ irqs: 96 });
    expect(configs).toEqual([{ distributor: 0x4000_0000, cpuInterface: 0x4001_0000, irqs: 96 }]);
    expect([chip.inputs, chip.spis]).toEqual([64, 64]);
    expect(chip.description).toEqual({
      version: 2,
      compatible: ['arm,cortex-a15-gic'],
      reg: [
        { address: 0x4000_0000, size: 0x1000 },
        { address: 0x4001_0000, size: 0x2000 },
      ],
      interruptCells: 3,
      distributor: 0x4000_0000,
      cpuInterface: 0x4001_0000,
    });
  });

  it('names the CPUs that a private interrupt is wired to', () => {
    expect(rig().chip.ppiSpecifier(11, 'level')).toEqual({ type: 1, number: 11, flags: 0x704 });
    expect(() => rig().chip.ppiSpecifier(16, 'level')).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    );
  });

  it('leads lines to the INTIDs of their SPIs', () => {
    const { chip, levels } = rig();
    const uart = chip.createLine(1, 'level');
    const disk = chip.allocateLine('edge');
    expect([uart.input, disk.input, disk.spi]).toEqual([1, 0, 0]);
    uart.setLevel(true);
    disk.trigger();
    expect(levels).toEqual([
      [33, true],
      [32, true],
      [32, false],
    ]);
  });

  it('saves and restores the state of the hypervisor, and not that of a GICv3', () => {
    const { chip, restored } = rig();
    chip.restore(structuredClone(chip.save()));
    expect(restored()).toEqual({ version: 3, model: 'fake', opaque: Uint8Array.of(9) });
    expect(() => chip.restore({ ...chip.save(), model: 'vm-gicv3' })).toThrow(
      expect.objectContaining({ code: 'INVALID_STATE' }),
    );
  });

  it.each([{ vcpus: 0 }, { vcpus: 9 }, { irqs: 32 }])('refuses %p', (wrong) => {
    expect(() => rig(wrong)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  });

  it('is for eight vCPUs at most, where a GICv3 has more', () => {
    const gic = { save: () => undefined, version: 3 } as unknown as HypervisorGic;
    const chip = createVmGicV3({ createGicV3: () => gic }, { distributor: 0, redistributor: 0, vcpus: 9 });
    expect(chip.description.reg[1]!.size).toBe(9 * 0x2_0000);
  });
});
