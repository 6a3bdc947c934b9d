import { PostCodePort } from './post-code-port.ts';
import { Pvpanic, PVPANIC_CRASH_LOADED, PVPANIC_PANICKED } from './pvpanic.ts';

describe('POST code port', () => {
  it('keeps the last code and tells each', () => {
    const codes: number[] = [];
    const port = new PostCodePort((code) => void codes.push(code));
    port.write(0, 1, 0x11);
    port.write(0, 2, 0x1_22);
    expect([codes, port.last, port.read(0)]).toEqual([[0x11, 0x22], 0x22, 0x22]);
  });

  it('needs nobody who listens', () => {
    const port = new PostCodePort();
    port.write(0, 1, 0x33);
    port.write(1, 1, 0x44);
    expect([port.last, port.read(1)]).toEqual([0x33, 0]);
  });
});

describe('pvpanic', () => {
  it('tells the events that it knows, and those that the guest writes', () => {
    const events: number[] = [];
    const device = new Pvpanic((event) => void events.push(event));
    expect([device.read(0), device.read(1)]).toEqual([PVPANIC_PANICKED | PVPANIC_CRASH_LOADED, 0]);
    device.write(0, 1, PVPANIC_PANICKED);
    device.write(0, 1, 0xfc);
    device.write(1, 1, PVPANIC_PANICKED);
    device.write(0, 1, 0xff);
    expect(events).toEqual([PVPANIC_PANICKED, PVPANIC_PANICKED | PVPANIC_CRASH_LOADED]);
  });
});
