import fc from 'fast-check';
import {
  FRAME,
  type Frame,
  FrameDecoder,
  type FrameType,
  Handshake,
  MAX_LENGTH,
  MAX_PAYLOAD,
} from './frames.ts';
import { encodeFrame } from './frames.ts';
import {
  type TreeEntry,
  decodeCredit,
  decodeData,
  decodeEntry,
  decodeEof,
  decodeError,
  decodeExit,
  decodeHello,
  encodeCredit,
  encodeEntry,
} from './messages.ts';

const lost: unknown = expect.objectContaining({ name: 'VmmError', code: 'AGENT_LOST' });
const types = fc.constantFrom(...(Object.values(FRAME) as FrameType[]));
const frames = fc.array(
  fc.record({ type: types, stream: fc.nat(0xffff_ffff), payload: fc.uint8Array({ maxLength: 300 }) }),
  { maxLength: 20 },
);

/** Bytes cut at the given places. */
function pieces(bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return at.slice(1).map((end, i) => bytes.subarray(at[i], end));
}

const plain = (frame: Frame): unknown => ({ ...frame, payload: [...frame.payload] });

describe('frames', () => {
  it('come out as they went in, wherever the stream is cut', () => {
    fc.assert(
      fc.property(frames, fc.array(fc.nat(), { maxLength: 20 }), (list, cuts) => {
        const bytes = Buffer.concat(
          list.map(({ type, stream, payload }) => encodeFrame(type, stream, payload)),
        );
        const decoder = new FrameDecoder();
        const found = pieces(bytes, cuts).flatMap((piece) => [...decoder.push(piece)]);
        expect(found.map(plain)).toEqual(list.map(plain));
      }),
    );
  });

  it('are refused when they cannot be sent', () => {
    expect(encodeFrame(FRAME.DATA, 1, new Uint8Array(MAX_PAYLOAD))).toHaveLength(MAX_PAYLOAD + 9);
    expect(() => encodeFrame(FRAME.DATA, 1, new Uint8Array(MAX_PAYLOAD + 1))).toThrow(RangeError);
  });

  it('with a length out of range end the stream', () => {
    for (const length of [0, 4, MAX_LENGTH + 1, 0xffff_ffff]) {
      const bytes = new Uint8Array(4);
      new DataView(bytes.buffer).setUint32(0, length, true);
      expect(() => [...new FrameDecoder().push(bytes)]).toThrow(lost as Error);
    }
  });

  it('keep at most one frame, whatever comes', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 30 }), (chunks) => {
        const decoder = new FrameDecoder();
        try {
          for (const chunk of chunks)
            for (const { payload } of decoder.push(chunk))
              expect(payload.length).toBeLessThanOrEqual(MAX_PAYLOAD);
        } catch (error) {
          expect(error).toEqual(lost);
        }
      }),
    );
  });
});

describe('the beginning of a session', () => {
  const nonce = fc.uint8Array({ minLength: 16, maxLength: 16 });

  it('is found behind what an earlier one left, wherever it is cut', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        nonce,
        fc.uint8Array({ maxLength: 50 }),
        fc.array(fc.nat(), { maxLength: 10 }),
        (before, secret, after, cuts) => {
          const handshake = new Handshake(secret);
          const answer = handshake.bytes.subarray(-32);
          const bytes = new Uint8Array([...before, ...answer, ...after]);
          let rest: Uint8Array[] | undefined;
          for (const piece of pieces(bytes, cuts)) {
            if (rest !== undefined) rest.push(piece);
            else {
              const behind = handshake.push(piece);
              if (behind !== undefined) rest = [behind];
            }
          }
          expect(rest === undefined ? undefined : [...Buffer.concat(rest)]).toEqual([...after]);
        },
      ),
    );
  });

  it('is not that of another session', () => {
    fc.assert(
      fc.property(nonce, nonce, (mine, other) => {
        fc.pre(!Buffer.from(mine).equals(other));
        expect(new Handshake(mine).push(new Handshake(other).bytes)).toBeUndefined();
      }),
    );
  });

  it('is not looked for without end', () => {
    const handshake = new Handshake(new Uint8Array(16));
    expect(() => {
      for (let i = 0; i < 100; i++) handshake.push(new Uint8Array(65536));
    }).toThrow(lost as Error);
  });
});

describe('messages', () => {
  const name = fc
    .string({ minLength: 1, maxLength: 20, unit: 'grapheme' })
    .filter((text) => !/[/\0]/.test(text) && text !== '.' && text !== '..');
  const number = fc.nat(0xffff_fffe);
  const entry: fc.Arbitrary<TreeEntry> = fc
    .record({
      type: fc.constantFrom('file', 'directory', 'symlink'),
      path: fc.array(name, { minLength: 1, maxLength: 5 }).map((parts) => parts.join('/')),
      mode: fc.nat(0o7777),
      uid: number,
      gid: number,
      mtime: fc.integer({ min: -1e13, max: 1e13 }),
      size: fc.nat(Number.MAX_SAFE_INTEGER),
      target: name,
    })
    .map(({ target, size, type, ...rest }) => ({
      ...rest,
      type,
      size: type === 'file' ? size : 0,
      ...(type === 'symlink' ? { target } : {}),
    }));

  it('entries of trees come out as they went in', () => {
    fc.assert(fc.property(entry, (each) => expect(decodeEntry(encodeEntry(each))).toEqual(each)));
  });

  it('entries with paths that lead elsewhere are refused', () => {
    const good: TreeEntry = { type: 'file', path: 'a/b', mode: 0, uid: 0, gid: 0, mtime: 0, size: 0 };
    const bytes = encodeEntry(good);
    for (const path of ['../', '/ab', 'a//', './b', 'a/.']) {
      const changed = bytes.slice();
      changed.set(new TextEncoder().encode(path), 33);
      expect(() => decodeEntry(changed)).toThrow(lost as Error);
    }
  });

  it('any bytes are decoded or refused', () => {
    const decoders = [
      decodeHello,
      decodeExit,
      decodeEof,
      decodeCredit,
      decodeData,
      decodeEntry,
      (bytes: Uint8Array) => decodeError('x', bytes),
    ];
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        for (const decode of decoders) {
          try {
            decode(bytes);
          } catch (error) {
            expect(error).toEqual(lost);
          }
        }
      }),
      { numRuns: 1000 },
    );
  });

  it('credit comes out as it went in, and is not a byte longer', () => {
    expect(decodeCredit(encodeCredit(2, 0xffff_ffff))).toEqual({ channel: 2, bytes: 0xffff_ffff });
    expect(() => decodeCredit(new Uint8Array(6))).toThrow(lost as Error);
  });

  it("a guest's reasons cannot write to a terminal", () => {
    const text = new TextEncoder().encode('\u001b]0;x\u0007\u202eend');
    expect(decodeError('w', new Uint8Array([2, 0, 0, 0, ...text])).message).toBe('w: ?]0;x??end');
  });
});
