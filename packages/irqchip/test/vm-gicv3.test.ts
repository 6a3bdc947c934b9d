import { HypervisorError, type GicState, type GicV3Config, type HypervisorGic } from '@vmm/hypervisor';
import { createVmGicV3, type VmGicState } from '../src/index.ts';

/** A hypervisor's GIC that records what reaches it. */
class FakeGic implements HypervisorGic {
  readonly version = 3;
  readonly calls: [string, number, boolean?][] = [];
  disposed = false;
  restored: GicState | undefined;

  setSpi(intid: number, level: boolean): void {
    if (this.disposed) throw new HypervisorError('DISPOSED', 'the VM is gone');
    this.calls.push(['level', intid, level]);
  }

  pulseSpi(intid: number): void {
    if (this.disposed) throw new HypervisorError('DISPOSED', 'the VM is gone');
    this.calls.push(['pulse', intid]);
  }

  save(): GicState {
    return { version: 7, model: 'fake', opaque: Uint8Array.of(1, 2, 3) };
  }

  restore(state: GicState): void {
    this.restored = state;
  }
}

function rig(irqs?: number): {
  gic: FakeGic;
  chip: ReturnType<typeof createVmGicV3>;
  configs: GicV3Config[];
} {
  const gic = new FakeGic();
  const configs: GicV3Config[] = [];
  const vm = {
    createGicV3: (config: GicV3Config): HypervisorGic => {
      configs.push(config);
      return gic;
    },
  };
  const options = { distributor: 0x4000_0000, redistributor: 0x4800_0000, vcpus: 3 };
  const chip = createVmGicV3(vm, irqs === undefined ? options : { ...options, irqs });
  return { gic, chip, configs };
}

describe('GICv3 of a VM', () => {
  it('is made by the hypervisor and describes itself for a device tree', () => {
    const { chip, configs } = rig(96);
    expect(configs).toEqual([{ distributor: 0x4000_0000, redistributor: 0x4800_0000, irqs: 96 }]);
    expect(chip.spis).toBe(64);
    expect(chip.description).toEqual({
      version: 3,
      compatible: ['arm,gic-v3'],
      reg: [
        { address: 0x4000_0000, size: 0x1_0000 },
        { address: 0x4800_0000, size: 0x6_0000 },
      ],
      interruptCells: 3,
      distributor: 0x4000_0000,
      redistributor: 0x4800_0000,
    });
    expect(chip.ppiSpecifier(11, 'level')).toEqual({ type: 1, number: 11, flags: 4 });
  });

  it('leads lines to the INTIDs of their SPIs', () => {
    const { gic, chip } = rig();
    const uart = chip.createLine(0, 'level');
    const disk = chip.createLine(16, 'edge');
    uart.setLevel(true);
    disk.trigger();
    uart.setLevel(false);
    expect(gic.calls).toEqual([
      ['level', 32, true],
      ['pulse', 48],
      ['level', 32, false],
    ]);
    expect([uart.specifier, disk.specifier]).toEqual([
      { type: 0, number: 0, flags: 4 },
      { type: 0, number: 16, flags: 1 },
    ]);
  });

  it('gives an SPI to one device at a time, and the lowest free one where none is asked for', () => {
    const { chip } = rig(64);
    const first = chip.createLine(0, 'level');
    expect(() => chip.createLine(0, 'edge')).toThrow(expect.objectContaining({ code: 'IN_USE' }));
    expect([chip.allocateLine('edge').spi, chip.allocateLine('edge').spi]).toEqual([1, 2]);
    first[Symbol.dispose]();
    first[Symbol.dispose]();
    expect(chip.allocateLine('edge').spi).toBe(0);
    for (let i = 3; i < 32; i++) chip.allocateLine('edge');
    expect(() => chip.allocateLine('edge')).toThrow(expect.objectContaining({ code: 'EXHAUSTED' }));
  });

  it.each([-1, 1.5, 224, NaN])('refuses SPI %d', (spi) => {
    expect(() => rig().chip.createLine(spi, 'edge')).toThrow(
      expect.objectContaining({ name: 'IrqChipError', code: 'INVALID_ARGUMENT' }),
    );
  });

  it('lowers a line that is given back, and does not let it reach anything later', () => {
    const { gic, chip } = rig();
    const line = chip.createLine(4, 'level');
    line.setLevel(true);
    line[Symbol.dispose]();
    line.setLevel(true);
    line.trigger();
    expect(gic.calls).toEqual([
      ['level', 36, true],
      ['level', 36, false],
    ]);
  });

  it('ignores lines of devices that outlive the VM, and no other error', () => {
    const { gic, chip } = rig();
    const line = chip.createLine(4, 'level');
    gic.disposed = true;
    line.trigger();
    line.setLevel(true);
    line[Symbol.dispose]();
    expect(gic.calls).toEqual([]);
    const other = chip.createLine(5, 'level');
    gic.setSpi = () => {
      throw new HypervisorError('ENGINE_FAULT', 'broken');
    };
    expect(() => other.setLevel(true)).toThrow('broken');
  });

  it('saves and restores the state of the hypervisor', () => {
    const { gic, chip } = rig();
    const state = structuredClone(chip.save());
    chip.restore(state);
    expect(gic.restored).toEqual({ version: 7, model: 'fake', opaque: Uint8Array.of(1, 2, 3) });
  });

  it.each([
    null,
    undefined,
    5,
    {},
    { version: 1, model: 'gicv2' },
    { version: 2, model: 'vm-gicv3', gic: {} },
    { version: 1, model: 'vm-gicv3' },
    { version: 1, model: 'vm-gicv3', gic: null },
  ])('refuses %p as a state', (state) => {
    const { gic, chip } = rig();
    expect(() => chip.restore(state as unknown as VmGicState)).toThrow(
      expect.objectContaining({ code: 'INVALID_STATE' }),
    );
    expect(gic.restored).toBeUndefined();
  });

  it.each([{ vcpus: 0 }, { vcpus: 1.5 }, { vcpus: 1, irqs: 32 }, { vcpus: 1, irqs: NaN }])(
    'refuses %p',
    (wrong) => {
      const vm = { createGicV3: (): HypervisorGic => new FakeGic() };
      expect(() => createVmGicV3(vm, { distributor: 0, redistributor: 0x1_0000, ...wrong })).toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
      );
    },
  );
});
