import * as fc from 'fast-check';
import { fromJson, toJson } from './plain-data.ts';

const plain = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.boolean(),
    fc.constant(null),
    fc.integer(),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => value + 0),
    fc.string(),
    fc.bigInt(),
    fc.uint8Array(),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(
      fc.string().filter((name) => !name.startsWith('$')),
      tie('value'),
      { maxKeys: 4, noNullPrototype: true },
    ),
  ),
})).value;

describe('plain data as JSON', () => {
  it('comes back as it was, bytes and large integers included', () => {
    fc.assert(
      fc.property(plain, (value) => {
        expect(fromJson(JSON.parse(JSON.stringify(toJson(value))))).toEqual(value);
      }),
    );
  });

  it('leaves out what is undefined', () => {
    expect(toJson({ a: undefined, b: 1 })).toEqual({ b: 1 });
  });

  it('bytes of shared memory are copied', () => {
    const bytes = new Uint8Array(new SharedArrayBuffer(4), 1, 2);
    bytes[0] = 7;
    expect(fromJson(toJson(bytes))).toEqual(Uint8Array.of(7, 0));
  });

  it.each([
    ['a function', () => undefined],
    ['an object of a class', new Map()],
    ['a number that JSON has not', Number.NaN],
    ['a name that means something', { $bytes: 'x' }],
  ])('%s is not taken', (_, value) => {
    expect(() => toJson(value)).toThrow(TypeError);
  });

  it.each([
    ['bytes that are no base64', { $bytes: '*' }],
    ['an integer that is none', { $integer: '0x1' }],
    ['a very long integer', { $integer: '1'.repeat(81) }],
    ['bytes with something beside', { $bytes: '', more: 1 }],
    ['something unknown', { $date: '' }],
    ['something unknown behind others', { a: 1, $date: '' }],
    ['nesting without end', JSON.parse('['.repeat(1000) + ']'.repeat(1000))],
  ])('%s is not read', (_, json) => {
    expect(() => fromJson(json)).toThrow(TypeError);
  });

  it('anything that JSON can say is read or refused, and has no foreign prototype', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        try {
          fromJson(JSON.parse(text));
        } catch (error) {
          expect(error).toBeInstanceOf(TypeError);
        }
      }),
    );
    const read = fromJson(JSON.parse('{"__proto__": {"polluted": true}}')) as Record<string, unknown>;
    expect(read['polluted']).toBeUndefined();
    expect(Object.getPrototypeOf(read)).toBe(Object.prototype);
  });
});
