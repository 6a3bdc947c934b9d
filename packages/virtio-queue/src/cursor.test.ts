import { GuestMemory } from '@vmm/vm-memory';
import fc from 'fast-check';
import { BASE, codeOf, makeMemory, makeRig, popChain } from '../test/support.ts';
import { DescriptorChain } from './index.ts';

/** A chain with these pieces, read ones first; the readable bytes count up from 1. */
function makeChain(
  readable: readonly number[],
  writable: readonly number[],
  shared = false,
): DescriptorChain {
  const memory = makeMemory(0x1_0000, shared);
  const chain = new DescriptorChain(memory);
  let address = BASE;
  let value = 1;
  for (const size of readable) {
    for (let i = 0; i < size; i++) memory.writeUint8(address + i, value++);
    chain.append(address, size, false);
    address += size + 3;
  }
  for (const size of writable) {
    chain.append(address, size, true);
    address += size + 3;
  }
  return chain;
}

function writtenBytes(chain: DescriptorChain): number[] {
  return Array.from({ length: chain.writableCount }, (_, i) => [
    ...chain.slice(chain.readableCount + i),
  ]).flat();
}

describe('the reader of a chain', () => {
  it('reads numbers across the borders of pieces', () => {
    const { reader } = makeChain([1, 2, 1, 3, 8, 5], []);
    expect(reader.readUint8()).toBe(1);
    expect(reader.readUint16()).toBe(0x0302);
    expect(reader.readUint32()).toBe(0x07060504);
    expect(reader.readUint8()).toBe(8);
    expect(reader.readUint32()).toBe(0x0c0b0a09);
    expect(reader.readUint16()).toBe(0x0e0d);
    expect(reader.readUint32()).toBe(0x1211100f);
    expect([reader.position, reader.remaining]).toEqual([18, 2]);
  });

  it('reads 64-bit values up to 2^53 - 1 as numbers', () => {
    const memory = makeMemory();
    const chain = new DescriptorChain(memory);
    memory.writeUint64(BASE, Number.MAX_SAFE_INTEGER);
    memory.writeBigUint64(BASE + 8, 2n ** 53n);
    chain.append(BASE, 3, false);
    chain.append(BASE + 3, 13, false);
    expect(chain.reader.readUint64()).toBe(Number.MAX_SAFE_INTEGER);
    expect(codeOf(() => chain.reader.readUint64())).toBe('VALUE_TOO_LARGE');
  });

  it('refuses to read beyond the readable part and stays where it was', () => {
    const { reader } = makeChain([2, 1], [64]);
    for (const read of [
      () => reader.readUint32(),
      () => reader.readUint64(),
      () => reader.read(new Uint8Array(4)),
      () => reader.skip(4),
      () => reader.seek(4),
      () => reader.iovecs(4, new Float64Array(8)),
    ]) {
      expect(codeOf(read)).toBe('CHAIN_TOO_SHORT');
      expect(reader.position).toBe(0);
    }
    expect(reader.readUint16()).toBe(0x0201);
    expect(codeOf(() => reader.readUint16())).toBe('CHAIN_TOO_SHORT');
    expect(reader.readUint8()).toBe(3);
    expect(codeOf(() => reader.readUint8())).toBe('CHAIN_TOO_SHORT');
  });

  it('reads as much as there is when asked so', () => {
    const { reader } = makeChain([2, 3], []);
    const target = new Uint8Array(4).fill(99);
    expect(reader.readSome(target)).toBe(4);
    expect([...target]).toEqual([1, 2, 3, 4]);
    expect(reader.readSome(target)).toBe(1);
    expect([...target]).toEqual([5, 2, 3, 4]);
    expect(reader.readSome(target)).toBe(0);
    expect(reader.readSome(new Uint8Array(0))).toBe(0);
  });

  it('takes views of pieces without copying', () => {
    const chain = makeChain([4, 2], []);
    const { reader } = chain;
    reader.skip(1);
    const view = reader.take(2);
    expect([...view]).toEqual([2, 3]);
    expect(view.buffer).toBe(chain.region(0).bytes.buffer);
    expect([...reader.take()]).toEqual([4]);
    expect([...reader.take(100)]).toEqual([5, 6]);
    expect([...reader.take()]).toEqual([]);
  });

  it('refuses lengths and positions that are none', () => {
    const { reader } = makeChain([8], []);
    for (const bad of [-1, 0.5, NaN, -Infinity]) {
      expect(codeOf(() => reader.skip(bad))).toBe('INVALID_ARGUMENT');
      expect(codeOf(() => reader.seek(bad))).toBe('INVALID_ARGUMENT');
      expect(codeOf(() => reader.iovecs(bad, new Float64Array(2)))).toBe('INVALID_ARGUMENT');
    }
    expect(reader.take(-1)).toHaveLength(0);
    expect(reader.take(0.5)).toHaveLength(0);
    expect(reader.take(NaN)).toHaveLength(0);
    expect(reader.position).toBe(0);
  });

  it('packs iovecs and stays where it was when they do not fit', () => {
    const { reader } = makeChain([4, 6], []);
    const out = new Float64Array(4);
    reader.skip(1);
    expect(codeOf(() => reader.iovecs(5, out, 2))).toBe('IOVECS_FULL');
    expect([reader.position, reader.readUint8()]).toEqual([1, 2]);
    expect(reader.iovecs(5, out)).toBe(4);
    expect([...out]).toEqual([BASE + 2, 2, BASE + 7, 3]);
    expect(reader.readUint8()).toBe(8);
    expect(reader.iovecs(0, out, 4)).toBe(4);
  });
});

describe('the writer of a chain', () => {
  it('writes numbers across the borders of pieces', () => {
    const chain = makeChain([3], [1, 2, 3, 1, 9, 1]);
    const { writer } = chain;
    writer.writeUint8(0x101);
    writer.writeUint32(0x05040302);
    writer.writeUint16(0x10706);
    writer.writeUint64(0x0f_0e0d_0c0b_0a09 - 1);
    expect(writer.position).toBe(15);
    expect(codeOf(() => writer.writeUint32(0))).toBe('CHAIN_TOO_SHORT');
    writer.writeUint16(0x1110);
    expect(writtenBytes(chain)).toEqual([
      1, 2, 3, 4, 5, 6, 7, 8, 0xa, 0xb, 0xc, 0xd, 0xe, 0xf, 0, 0x10, 0x11,
    ]);
  });

  it('refuses to write beyond the writable part, and writes nothing then', () => {
    const chain = makeChain([64], [2, 1]);
    const { writer } = chain;
    for (const write of [
      () => writer.writeUint32(0xffffffff),
      () => writer.writeUint64(2 ** 53 - 1),
      () => writer.write(new Uint8Array(4).fill(1)),
      () => writer.fill(4, 1),
    ]) {
      expect(codeOf(write)).toBe('CHAIN_TOO_SHORT');
    }
    writer.skip(2);
    expect(codeOf(() => writer.writeUint16(0xffff))).toBe('CHAIN_TOO_SHORT');
    expect(writtenBytes(chain)).toEqual([0, 0, 0]);
    for (const bad of [-1, 0.5, NaN, 2 ** 53])
      expect(codeOf(() => writer.writeUint64(bad))).toBe('INVALID_ARGUMENT');
  });

  it('writes as much as fits when asked so', () => {
    const chain = makeChain([], [2, 1]);
    expect(chain.writer.writeSome(Uint8Array.of(1, 2))).toBe(2);
    expect(chain.writer.writeSome(Uint8Array.of(3, 4))).toBe(1);
    expect(chain.writer.writeSome(Uint8Array.of(5))).toBe(0);
    expect(writtenBytes(chain)).toEqual([1, 2, 3]);
  });

  it('seeks, for a status in the last byte', () => {
    const chain = makeChain([], [4, 4, 1]);
    const { writer } = chain;
    writer.seek(chain.writableBytes - 1);
    writer.writeUint8(7);
    writer.seek(3);
    writer.fill(2, 0x1ff);
    writer.rewind();
    writer.writeUint8(1);
    expect(writtenBytes(chain)).toEqual([1, 0, 0, 255, 255, 0, 0, 0, 7]);
    writer.seek(9);
    expect(writer.remaining).toBe(0);
  });
});

describe('both cursors', () => {
  it('agree with plain arrays for any pieces and any operations', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 6 });
    const step = fc.record({
      op: fc.constantFrom('bytes', 'some', 'u8', 'u16', 'u32', 'u64', 'skip', 'seek', 'take', 'iovecs'),
      amount: fc.nat(120),
    });
    fc.assert(
      fc.property(
        sizes,
        sizes,
        fc.array(step, { maxLength: 30 }),
        fc.boolean(),
        (readable, writable, steps, shared) => {
          const chain = makeChain(readable, writable, shared);
          const source = readable.flatMap((_, i) => [...chain.slice(i)]);
          const room = writable.reduce((sum, size) => sum + size, 0);
          const target = new Array<number>(room).fill(0);
          const { reader, writer } = chain;
          let from = 0;
          let to = 0;
          let next = 1;
          const little = (bytes: readonly number[]) => bytes.reduceRight((sum, byte) => sum * 256 + byte, 0);
          const fresh = (length: number) => Array.from({ length }, () => next++ % 31);
          for (const { op, amount } of steps) {
            const left = source.length - from;
            const space = room - to;
            const width = new Map<string, number>([
              ['u8', 1],
              ['u16', 2],
              ['u32', 4],
              ['u64', 8],
            ]).get(op);
            if (width !== undefined) {
              const bytes = source.slice(from, from + width);
              const read = {
                1: () => reader.readUint8(),
                2: () => reader.readUint16(),
                4: () => reader.readUint32(),
              };
              const action = width === 8 ? () => reader.readUint64() : read[width as 1 | 2 | 4];
              if (left < width) expect(codeOf(action)).toBe('CHAIN_TOO_SHORT');
              else if (width === 8 && bytes[7]! * 256 + bytes[6]! >= 32) {
                expect(codeOf(action)).toBe('VALUE_TOO_LARGE');
                from += 8;
              } else {
                expect(action()).toBe(little(bytes));
                from += width;
              }
              const value = fresh(width).map((byte, i) => (i > 5 ? 0 : byte));
              const write = () => {
                if (width === 1) writer.writeUint8(little(value));
                else if (width === 2) writer.writeUint16(little(value));
                else if (width === 4) writer.writeUint32(little(value));
                else writer.writeUint64(little(value));
              };
              if (space < width) expect(codeOf(write)).toBe('CHAIN_TOO_SHORT');
              else {
                write();
                target.splice(to, width, ...value);
                to += width;
              }
            } else if (op === 'bytes') {
              const into = new Uint8Array(amount);
              if (left < amount) expect(codeOf(() => reader.read(into))).toBe('CHAIN_TOO_SHORT');
              else {
                reader.read(into);
                expect([...into]).toEqual(source.slice(from, from + amount));
                from += amount;
              }
              const bytes = fresh(amount);
              if (space < amount)
                expect(codeOf(() => writer.write(Uint8Array.from(bytes)))).toBe('CHAIN_TOO_SHORT');
              else {
                writer.write(Uint8Array.from(bytes));
                target.splice(to, amount, ...bytes);
                to += amount;
              }
            } else if (op === 'some') {
              const into = new Uint8Array(amount);
              const got = reader.readSome(into);
              expect(got).toBe(Math.min(amount, left));
              expect([...into.subarray(0, got)]).toEqual(source.slice(from, from + got));
              from += got;
              const bytes = fresh(amount);
              const put = writer.writeSome(Uint8Array.from(bytes));
              expect(put).toBe(Math.min(amount, space));
              target.splice(to, put, ...bytes.slice(0, put));
              to += put;
            } else if (op === 'skip') {
              if (amount <= left) {
                reader.skip(amount);
                from += amount;
              }
              if (amount <= space) {
                writer.skip(amount);
                to += amount;
              }
            } else if (op === 'seek') {
              if (amount <= source.length) {
                reader.seek(amount);
                from = amount;
              }
              if (amount <= room) {
                writer.seek(amount);
                to = amount;
              }
            } else if (op === 'take') {
              const view = reader.take(amount);
              expect(view.length > 0).toBe(left > 0 && amount > 0);
              expect([...view]).toEqual(source.slice(from, from + view.length));
              from += view.length;
              const place = writer.take(amount);
              const bytes = fresh(place.length);
              place.set(bytes);
              target.splice(to, place.length, ...bytes);
              to += place.length;
            } else if (amount <= left) {
              const out = new Float64Array(32);
              const end = reader.iovecs(amount, out);
              const bytes: number[] = [];
              for (let i = 0; i < end; i += 2) bytes.push(...chain.memory.slice(out[i]!, out[i + 1]!));
              expect(bytes).toEqual(source.slice(from, from + amount));
              from += amount;
            }
            expect([reader.position, reader.remaining]).toEqual([from, source.length - from]);
            expect([writer.position, writer.remaining]).toEqual([to, room - to]);
          }
          expect(writtenBytes(chain)).toEqual(target);
          expect(readable.flatMap((_, i) => [...chain.slice(i)])).toEqual(source);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('start over when the chain comes again', () => {
    const { driver, queue } = makeRig({ size: 1 });
    for (const text of ['ab', 'cd']) {
      driver.send([{ readable: text }]);
      const chain = popChain(queue);
      expect(String.fromCharCode(...chain.reader.take())).toBe(text);
      queue.addUsed(chain, 0);
      driver.collect();
    }
  });

  it('work in regions above 4 GiB', () => {
    const base = 2 ** 52;
    const memory = new GuestMemory([{ guestAddress: base, bytes: new Uint8Array(64) }]);
    const chain = new DescriptorChain(memory);
    chain.append(base + 1, 5, false);
    chain.append(base + 32, 8, true);
    memory.writeUint32(base + 1, 0x12345678);
    expect(chain.reader.readUint32()).toBe(0x12345678);
    chain.writer.writeUint64(2 ** 40);
    expect(memory.readUint64(base + 32)).toBe(2 ** 40);
  });
});
