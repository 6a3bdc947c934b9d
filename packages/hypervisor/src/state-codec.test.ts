import fc from 'fast-check';
import { HypervisorError } from './errors.ts';
import { crc32, decodeState, encodeState } from './state-codec.ts';

const MAGIC = 0x1234_5678;

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof HypervisorError) return error.code;
    throw error;
  }
  return 'none';
}

describe('backend-private state', () => {
  it('is decoded to what was encoded', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (payload) => {
        const view = decodeState('it', MAGIC, 3, encodeState(MAGIC, 3, payload));
        expect([...new Uint8Array(view.buffer, view.byteOffset, view.byteLength)]).toEqual([...payload]);
      }),
    );
  });

  it('is refused when a single bit differs', () => {
    const bytes = encodeState(MAGIC, 3, new Uint8Array([1, 2, 3, 4, 5]));
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const damaged = bytes.slice();
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      expect(codeOf(() => decodeState('it', MAGIC, 3, damaged))).toBe('INVALID_ARGUMENT');
    }
  });

  it('is refused when it is anything else', () => {
    const inputs: unknown[] = [undefined, null, 'text', [1, 2], new Uint8Array(15), new Uint8Array(64)];
    for (const input of inputs) {
      expect(codeOf(() => decodeState('it', MAGIC, 3, input))).toBe('INVALID_ARGUMENT');
    }
  });

  it('is copied, so that changing the bytes afterwards has no effect', () => {
    const bytes = encodeState(MAGIC, 3, new Uint8Array([1, 2, 3, 4]));
    const view = decodeState('it', MAGIC, 3, bytes);
    bytes.fill(0);
    expect(view.getUint32(0, true)).toBe(0x0403_0201);
  });

  it('has the checksum of ISO 3309', () => {
    expect(crc32(new TextEncoder().encode('123456789'))).toBe(0xcbf4_3926);
  });
});
