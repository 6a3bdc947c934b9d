import { needEvent } from './index.ts';

describe('needEvent', () => {
  it('is true when the index passes the event, wrapping at 2^16 (VIRTIO 1.3 §2.7.7.2)', () => {
    expect(needEvent(0, 1, 0)).toBe(true);
    expect(needEvent(1, 1, 0)).toBe(false);
    expect(needEvent(4, 5, 0)).toBe(true);
    expect(needEvent(5, 5, 0)).toBe(false);
    expect(needEvent(0xffff, 0, 0xffff)).toBe(true);
    expect(needEvent(0xfffe, 1, 0xfffd)).toBe(true);
    expect(needEvent(0, 1, 0xfff0)).toBe(true);
    expect(needEvent(1, 1, 0xfff0)).toBe(false);
  });

  it('agrees with counting one by one', () => {
    for (const old of [0, 7, 0x7ffe, 0xfff8, 0xffff]) {
      for (let count = 0; count <= 20; count++) {
        for (let offset = -3; offset <= 23; offset++) {
          const event = (old + offset) & 0xffff;
          // An entry is written at each of the indices old … old + count - 1.
          const expected = Array.from({ length: count }, (_, i) => (old + i) & 0xffff).includes(event);
          expect(needEvent(event, (old + count) & 0xffff, old)).toBe(expected);
        }
      }
    }
  });
});
