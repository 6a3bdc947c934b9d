import { describeList } from './commands/list.ts';
import { asksForJson, bytes, coloured, duration, errorObject, table } from './output.ts';

describe('--format', () => {
  it.each<[string[], boolean]>([
    [['list', '--format', 'json'], true],
    [['list', '--format=json'], true],
    [['stop', '--nonsense', '--format', 'json'], true],
    [['list'], false],
    [['list', '--format', 'text'], false],
    [['run', '--', 'tool', '--format', 'json'], false],
  ])('%j', (args, expected) => {
    expect(asksForJson(args, {})).toBe(expected);
    expect(asksForJson(args, { REFERENCE_VMM_FORMAT: 'text' })).toBe(expected);
  });
});

it('the environment asks for JSON where the command line does not say', () => {
  const environment = { REFERENCE_VMM_FORMAT: 'json' };
  expect(asksForJson(['list'], environment)).toBe(true);
  expect(asksForJson(['list', '--format', 'text'], environment)).toBe(false);
});

describe('text for people', () => {
  it('has sizes and times in their largest units', () => {
    expect([0, 1023, 1024, 256 * 2 ** 20, 1.5 * 2 ** 30].map(bytes)).toEqual([
      '0 B',
      '1023 B',
      '1 KiB',
      '256 MiB',
      '1.5 GiB',
    ]);
    expect([0, 59.9, 60, 3661, 90_061].map(duration)).toEqual(['0s', '59s', '1m 0s', '1h 1m', '1d 1h']);
  });

  it('stands in columns', () => {
    expect(
      table([
        ['a', 'b'],
        ['long', 'x'],
      ]),
    ).toBe('a     b\nlong  x\n');
  });

  it('has colours for terminals only, and not where the user wants none', () => {
    expect(coloured({}, true)).toBe(true);
    expect(coloured({}, false)).toBe(false);
    expect(coloured({ NO_COLOR: '1' }, true)).toBe(false);
    expect(coloured({ NO_COLOR: '' }, true)).toBe(true);
    expect(coloured({ TERM: 'dumb' }, true)).toBe(false);
    expect(coloured({ FORCE_COLOR: '1', TERM: 'dumb' }, false)).toBe(true);
    expect(coloured({ FORCE_COLOR: '0' }, true)).toBe(false);
    expect(coloured({ FORCE_COLOR: '1', NO_COLOR: '1' }, true)).toBe(false);
  });

  it('lists VMs that do not answer as such', () => {
    const text = describeList([{ name: 'box', pid: 7, state: 'unreachable', message: 'hangs' }]);
    expect(text).toMatch(/^NAME +STATE +PID .*\nbox +unreachable +7 .*-\n$/);
  });
});

it('anything thrown is told with a code', () => {
  expect(errorObject(Object.assign(new Error('no'), { code: 'ENOENT' }))).toEqual({
    code: 'ENOENT',
    message: 'no',
  });
  expect(errorObject(new Error('no'))).toEqual({ code: 'INTERNAL', message: 'no' });
  expect(errorObject('text')).toEqual({ code: 'INTERNAL', message: 'text' });
});
