/** What JSON can say. */
export type Json =
  null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json | undefined };

/** Names of the one member of an object that stands for what JSON has no word for. */
const BYTES = '$bytes';
const INTEGER = '$integer';
/** No state is nested that deep. */
const MAX_DEPTH = 32;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const DECIMAL = /^-?\d{1,80}$/;

/**
 * Plain data as JSON: byte arrays and large integers, which states of devices are made of, become objects of one member.
 * Members that are undefined are left out.
 *
 * @throws TypeError for what is no plain data
 */
export function toJson(value: unknown): Json {
  switch (typeof value) {
    case 'boolean':
    case 'string':
      return value;
    case 'number':
      if (!Number.isFinite(value)) throw new TypeError(`${value} is no plain data`);
      return value;
    case 'bigint':
      return { [INTEGER]: value.toString() };
    case 'object':
      return objectToJson(value);
    default:
      throw new TypeError(`a ${typeof value} is no plain data`);
  }
}

function objectToJson(value: object | null): Json {
  if (value === null) return null;
  if (value instanceof Uint8Array) {
    return { [BYTES]: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64') };
  }
  if (Array.isArray(value)) return value.map(toJson);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null)
    throw new TypeError(`an object of class ${value.constructor.name} is no plain data`);
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  if (members.some(([name]) => name.startsWith('$'))) throw new TypeError('names do not begin with $');
  return Object.fromEntries(members.map(([name, member]) => [name, toJson(member)]));
}

/**
 * Undoes {@link toJson}.
 *
 * @param json of unknown origin
 * @throws TypeError for what `toJson` does not make
 */
export function fromJson(json: unknown, depth = 0): unknown {
  if (depth > MAX_DEPTH) throw new TypeError(`data is nested deeper than ${MAX_DEPTH}`);
  if (typeof json !== 'object' || json === null) return json;
  if (Array.isArray(json)) return json.map((item) => fromJson(item, depth + 1));
  const members: [string, unknown][] = Object.entries(json);
  const [first] = members;
  if (first?.[0].startsWith('$') === true) return special(first, members.length);
  if (members.some(([name]) => name.startsWith('$'))) throw new TypeError('a member has an unknown meaning');
  return Object.fromEntries(members.map(([name, member]) => [name, fromJson(member, depth + 1)]));
}

function special([name, value]: [string, unknown], members: number): Uint8Array | bigint {
  if (members === 1 && typeof value === 'string') {
    if (name === BYTES && BASE64.test(value)) return new Uint8Array(Buffer.from(value, 'base64'));
    if (name === INTEGER && DECIMAL.test(value)) return BigInt(value);
  }
  throw new TypeError(`a member ${name.slice(0, 20)} has no meaning here`);
}
