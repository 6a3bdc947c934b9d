import {
  ACPI_RESET,
  ACPI_RESET_VALUE,
  ACPI_SLEEP_CONTROL,
  ACPI_SLEEP_STATUS,
  ACPI_SLP_TYP_S5,
  AcpiPower,
} from './acpi-power.ts';

const SLP_EN = 0x20;

function rig(): { power: AcpiPower; events: string[] } {
  const events: string[] = [];
  const power = new AcpiPower({
    onShutdown: () => void events.push('shutdown'),
    onReset: () => void events.push('reset'),
  });
  return { power, events };
}

describe('ACPI power registers', () => {
  it('turn the machine off by SLP_EN with the type of S5 only (ACPI 6.5 §4.8.3.7)', () => {
    const { power, events } = rig();
    power.write(ACPI_SLEEP_CONTROL, 1, ACPI_SLP_TYP_S5 << 2);
    for (let type = 0; type < 8; type++) {
      if (type !== ACPI_SLP_TYP_S5) power.write(ACPI_SLEEP_CONTROL, 1, (type << 2) | SLP_EN);
    }
    expect(events).toEqual([]);
    power.write(ACPI_SLEEP_CONTROL, 1, 0x34);
    expect(events).toEqual(['shutdown']);
    expect(power.read(ACPI_SLEEP_CONTROL, 1)).toBe(ACPI_SLP_TYP_S5 << 2);
  });

  it('reset the machine by the reset value only', () => {
    const { power, events } = rig();
    power.write(ACPI_RESET, 1, 0);
    power.write(ACPI_RESET, 1, 0xff);
    expect(events).toEqual([]);
    power.write(ACPI_RESET, 1, ACPI_RESET_VALUE);
    expect(events).toEqual(['reset']);
    expect(power.read(ACPI_RESET, 1)).toBe(0);
  });

  it('never report a wake-up, which WAK_STS would', () => {
    const { power } = rig();
    power.write(ACPI_SLEEP_STATUS, 1, 0xff);
    expect(power.read(ACPI_SLEEP_STATUS, 1)).toBe(0);
  });

  it('are bytes, also to wider accesses', () => {
    const { power, events } = rig();
    power.write(ACPI_SLEEP_CONTROL, 4, 0x01_00_08);
    expect(events).toEqual(['reset']);
    expect(power.read(ACPI_SLEEP_CONTROL, 2)).toBe(0x08);
  });

  it('go on from a saved state, and refuse a broken one', () => {
    const { power } = rig();
    power.write(ACPI_SLEEP_CONTROL, 1, 0x14);
    const copy = rig().power;
    copy.restore(structuredClone(power.save()));
    expect(copy.read(ACPI_SLEEP_CONTROL, 1)).toBe(0x14);
    power.reset();
    expect(power.read(ACPI_SLEEP_CONTROL, 1)).toBe(0);
    const state = copy.save();
    for (const [field, value] of Object.entries({ version: 0, control: 0x20, status: 1 })) {
      expect(() => copy.restore({ ...state, [field]: value })).toThrow(
        expect.objectContaining({ code: 'INVALID_STATE' }),
      );
      expect(copy.save()).toEqual(state);
    }
  });
});
