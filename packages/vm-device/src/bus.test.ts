import fc from 'fast-check';
import { Bus } from './bus.ts';
import type { AccessLength } from './bus.ts';
import type { BusDevice } from './device.ts';
import { VmDeviceError } from './errors.ts';
import type { VmDeviceErrorCode } from './errors.ts';

type Access = readonly [operation: 'read' | 'write', offset: number, length: number, value: number];

const withCode = (code: VmDeviceErrorCode): Error => expect.objectContaining({ code }) as Error;

class RecordingDevice implements BusDevice {
  readonly accesses: Access[] = [];
  answer = 0;

  read(offset: number, length: 1 | 2 | 4): number {
    this.accesses.push(['read', offset, length, 0]);
    return this.answer;
  }

  write(offset: number, length: 1 | 2 | 4, value: number): void {
    this.accesses.push(['write', offset, length, value]);
  }
}

const throwing: BusDevice = {
  read: () => {
    throw new Error('broken register');
  },
  write: () => {
    throw new Error('broken register');
  },
};

describe('routing', () => {
  it('hands a device the offset within its range', () => {
    const bus = new Bus();
    const device = new RecordingDevice();
    bus.register(0x4000, 0x100, device);
    device.answer = 0x1234_5678;
    expect(bus.read(0x4010, 4)).toBe(0x1234_5678);
    bus.write(0x40fe, 2, 0xbeef);
    expect(device.accesses).toEqual([
      ['read', 0x10, 4, 0],
      ['write', 0xfe, 2, 0xbeef],
    ]);
  });

  it.each([
    [1, 0xff],
    [2, 0xffff],
    [4, 0xffff_ffff],
  ] as const)('passes only %i byte(s) of a value in either direction', (length, mask) => {
    const bus = new Bus();
    const device = new RecordingDevice();
    bus.register(0, 8, device);
    device.answer = -1;
    expect(bus.read(0, length)).toBe(mask);
    bus.write(0, length, -1);
    expect(device.accesses.at(-1)).toEqual(['write', 0, length, mask]);
  });

  it('splits an 8-byte access into two of 4, low half first', () => {
    const bus = new Bus();
    const device = new RecordingDevice();
    bus.register(0x1000, 0x10, device);
    bus.write(0x1008, 8, 0x1111_1111, 0xffff_fff0);
    let next = 0x8000_0000;
    device.read = (): number => next++;
    expect(bus.read(0x1000, 8)).toBe(0x8000_0000);
    expect(bus.readHigh).toBe(0x8000_0001);
    expect(device.accesses).toEqual([
      ['write', 8, 4, 0x1111_1111],
      ['write', 12, 4, 0xffff_fff0],
    ]);
  });

  it('clears the high half on a narrower read', () => {
    const bus = new Bus();
    const device = new RecordingDevice();
    bus.register(0, 8, device);
    device.answer = 7;
    bus.read(0, 8);
    bus.read(0, 4);
    expect(bus.readHigh).toBe(0);
  });

  it('stops routing to a disposed registration, and its range can be taken again', () => {
    const bus = new Bus();
    const [first, second] = [new RecordingDevice(), new RecordingDevice()];
    const registration = bus.register(0, 4, first);
    bus.read(0, 4);
    registration[Symbol.dispose]();
    registration[Symbol.dispose]();
    expect(bus.read(0, 4)).toBe(0);
    bus.register(0, 4, second);
    bus.read(0, 4);
    expect([first.accesses.length, second.accesses.length]).toEqual([1, 1]);
    expect(bus.statistics).toEqual({ reads: 3, writes: 0, unclaimed: 1, deviceErrors: 0 });
  });

  it('lets a device take itself off the bus during an access', () => {
    const bus = new Bus();
    const registration = bus.register(0, 8, {
      read: () => 0,
      write: () => registration[Symbol.dispose](),
    });
    bus.write(0, 8, 1, 2);
    expect(bus.registrations).toEqual([]);
  });
});

describe('accesses that no device claims', () => {
  it('read as 0, are counted and reported', () => {
    const seen: unknown[] = [];
    const bus = new Bus({ onUnclaimed: (...access) => seen.push(access) });
    bus.register(0x1000, 0x10, new RecordingDevice());
    expect(bus.read(0xfff, 1)).toBe(0);
    bus.write(0x1010, 4, 5);
    expect(seen).toEqual([
      [0xfff, 1, false],
      [0x1010, 4, true],
    ]);
    expect(bus.statistics.unclaimed).toBe(2);
  });

  it('an access across the end of a range reaches no device, even when the next range begins there', () => {
    const bus = new Bus();
    const [low, high] = [new RecordingDevice(), new RecordingDevice()];
    low.answer = high.answer = 0xffff_ffff;
    bus.register(0, 6, low);
    bus.register(6, 6, high);
    expect(bus.read(4, 4)).toBe(0);
    expect(bus.read(0, 8)).toBe(0);
    expect(bus.readHigh).toBe(0);
    bus.write(5, 2, 1);
    expect([low.accesses, high.accesses]).toEqual([[], []]);
    expect(bus.statistics.unclaimed).toBe(3);
  });
});

describe('devices that throw', () => {
  it('are reported once with their error, and their registers read as 0', () => {
    const errors: VmDeviceError[] = [];
    const bus = new Bus({
      name: 'mmio',
      onDeviceError: (error, registration) => {
        expect(registration.name).toBe('rtc');
        errors.push(error);
      },
    });
    bus.register(0x9000, 0x1000, throwing, 'rtc');
    expect(bus.read(0x9010, 4)).toBe(0);
    bus.write(0x9014, 8, 1, 1);
    expect(errors).toHaveLength(1);
    expect(errors[0]).toBeInstanceOf(VmDeviceError);
    expect(errors[0]!.code).toBe('DEVICE_FAULT');
    expect(errors[0]!.message).toBe('rtc threw on a read at 0x9010 (offset 0x10) of mmio');
    expect((errors[0]!.cause as Error).message).toBe('broken register');
    expect(bus.statistics.deviceErrors).toBe(2);
  });
});

describe('registration', () => {
  it.each([
    [0x0ff0, 0x20, 'beginning below'],
    [0x1ff0, 0x20, 'ending above'],
    [0x1400, 0x10, 'inside'],
    [0x0800, 0x2000, 'around'],
    [0x1000, 0x1000, 'the same'],
  ])('refuses a range at %p of %p bytes: %s', (address, size) => {
    const bus = new Bus();
    bus.register(0x1000, 0x1000, throwing, 'uart');
    expect(() => bus.register(address, size, throwing, 'rtc')).toThrow(withCode('OVERLAP'));
    expect(() => bus.register(address, size, throwing, 'rtc')).toThrow('overlaps uart at 0x1000');
  });

  it('accepts ranges that touch', () => {
    const bus = new Bus();
    bus.register(0x1000, 0x1000, throwing);
    bus.register(0x0000, 0x1000, throwing);
    bus.register(0x2000, 0x1000, throwing);
    expect(bus.registrations.map((range) => range.address)).toEqual([0, 0x1000, 0x2000]);
  });

  it.each([
    [-1, 4],
    [0.5, 4],
    [0, 0],
    [0, Number.NaN],
    [0xfffd, 4],
    [2 ** 53, 1],
  ])('refuses %p with size %p on a bus of 64 KiB', (address, size) => {
    const bus = new Bus({ limit: 0x1_0000 });
    expect(() => bus.register(address, size, throwing)).toThrow(withCode('INVALID_ARGUMENT'));
  });
});

it('agrees with a byte map for any layout and any accesses', () => {
  const layout = fc.array(fc.record({ address: fc.nat(200), size: fc.integer({ min: 1, max: 40 }) }), {
    maxLength: 20,
  });
  const accesses = fc.array(
    fc.record({
      address: fc.nat(250),
      length: fc.constantFrom<AccessLength>(1, 2, 4, 8),
      write: fc.boolean(),
    }),
    { maxLength: 60 },
  );
  fc.assert(
    fc.property(layout, accesses, (ranges, guest) => {
      const bus = new Bus();
      const owner: (number | undefined)[] = new Array<undefined>(260).fill(undefined);
      const devices: RecordingDevice[] = [];
      for (const { address, size } of ranges) {
        const device = new RecordingDevice();
        const free = owner.slice(address, address + size).every((at) => at === undefined);
        if (!free) {
          expect(() => bus.register(address, size, device)).toThrow(VmDeviceError);
          continue;
        }
        bus.register(address, size, device);
        owner.fill(devices.length, address, address + size);
        device.answer = devices.length + 1;
        devices.push(device);
      }
      let unclaimed = 0;
      for (const { address, length, write } of guest) {
        const index = owner[address];
        const whole = owner.slice(address, address + length).every((at) => at === index);
        const expected = index === undefined || !whole ? undefined : devices[index]!;
        if (expected === undefined) unclaimed++;
        const before = devices.map((device) => device.accesses.length);
        if (write) bus.write(address, length, 1, 1);
        else expect(bus.read(address, length)).toBe(expected?.answer ?? 0);
        const delta = devices.map((device, at) => device.accesses.length - before[at]!);
        expect(delta).toEqual(devices.map((device) => (device === expected ? (length === 8 ? 2 : 1) : 0)));
      }
      expect(bus.statistics.unclaimed).toBe(unclaimed);
    }),
  );
});
