import * as v from 'valibot';
import { nearest } from './nearest.ts';

/** What an issue's value looks like in a message. */
function shown(input: unknown): string {
  const text = input === undefined ? 'nothing' : JSON.stringify(input);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

/** A message that says what a value is not. */
function not(what: string): (issue: v.BaseIssue<unknown>) => string {
  return ({ input }) => `${shown(input)} is not ${what}`;
}

/** A text that is not empty and has no NUL. */
export function text(what = 'a text'): v.GenericSchema<unknown, string> {
  return v.pipe(v.string(not(what)), v.regex(/^[^\0]+$/, not(`${what}, or is empty`)));
}

/** A text of a form; the pattern goes into the JSON Schema, and has no flags for that. */
export function pattern(form: RegExp, what: string): v.GenericSchema<unknown, string> {
  return v.pipe(v.string(not(what)), v.regex(form, not(what)));
}

export function whole(minimum: number, maximum: number): v.GenericSchema<unknown, number> {
  const message = not(`a whole number from ${minimum} to ${maximum}`);
  return v.pipe(
    v.number(message),
    v.integer(message),
    v.minValue(minimum, message),
    v.maxValue(maximum, message),
  );
}

export function flag(): v.GenericSchema<unknown, boolean> {
  return v.boolean(not('true or false'));
}

export function oneOf<const T extends readonly string[]>(choices: T): v.GenericSchema<unknown, T[number]> {
  return v.picklist(choices, not(`one of ${choices.join(', ')}`));
}

export function listOf<T>(item: v.GenericSchema<unknown, T>): v.GenericSchema<unknown, T[]> {
  return v.array(item, not('a list'));
}

/** One of several kinds of value; what no kind fits is refused in the words of `what`. */
export function either<A, B>(
  one: v.GenericSchema<unknown, A>,
  other: v.GenericSchema<unknown, B>,
  what: string,
): v.GenericSchema<unknown, A | B> {
  return v.union([one, other], not(what));
}

/** What an object with unknown or missing keys is told. */
export function objectMessage(keys: readonly string[]): (issue: v.BaseIssue<unknown>) => string {
  return ({ expected, received, input, path }) => {
    if (expected === 'never') {
      const last = path?.at(-1)?.key;
      const key = typeof last === 'string' ? last : '';
      const guess = nearest(key, keys);
      const hint = guess === undefined ? '.' : `, did you mean "${guess}"?`;
      return `there is no such key${hint} There are ${keys.join(', ')}`;
    }
    if (received === 'undefined') return 'is missing';
    return `${shown(input)} is not an object`;
  };
}
