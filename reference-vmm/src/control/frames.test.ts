import fc from 'fast-check';
import { FRAME_LIMIT, FrameParser, FrameType, framesOf } from './frames.ts';

describe('frames', () => {
  it('come out as they went in, however they are cut', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            type: fc.constantFrom(...Object.values(FrameType)),
            payload: fc.uint8Array({ minLength: 1, maxLength: 50 }),
          }),
        ),
        fc.infiniteStream(fc.integer({ min: 1, max: 20 })),
        (frames, cuts) => {
          const bytes = Buffer.concat(frames.flatMap(({ type, payload }) => [...framesOf(type, payload)]));
          const seen: unknown[] = [];
          const parser = new FrameParser((type, payload) => seen.push({ type, payload }));
          for (let at = 0; at < bytes.length;) {
            const end = at + Number(cuts.next().value);
            parser.push(bytes.subarray(at, end));
            at = end;
          }
          expect(seen).toEqual(frames);
        },
      ),
    );
  });

  it('take long payloads in parts, and none for none', () => {
    const parts = [...framesOf(FrameType.stdout, new Uint8Array(FRAME_LIMIT * 2 + 1))];
    expect(parts.map(({ length }) => length - 5)).toEqual([FRAME_LIMIT, FRAME_LIMIT, 1]);
    const seen: number[] = [];
    const parser = new FrameParser((type, payload) => seen.push(type, payload.length));
    parser.push(Uint8Array.of(FrameType.eof, 0, 0, 0, 0, FrameType.eof, 0, 0, 0, 0));
    expect(seen).toEqual([FrameType.eof, 0, FrameType.eof, 0]);
  });

  it('never make the parser keep more than the limit, whatever comes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const parser = new FrameParser((_, payload) =>
          expect(payload.length).toBeLessThanOrEqual(FRAME_LIMIT),
        );
        try {
          parser.push(bytes);
        } catch (error) {
          expect(String(error)).toMatch(/frame/);
        }
      }),
    );
  });
});
