import { parseCopy, splitContents } from './operands.ts';

it.each([
  ['web:/etc/passwd', '.', { to: 'host', vm: 'web', remote: '/etc/passwd', local: '.' }],
  ['web:etc', '-', { to: 'host', vm: 'web', remote: '/etc', local: '-' }],
  ['./a:b', 'web:/c:d', { to: 'guest', vm: 'web', remote: '/c:d', local: './a:b' }],
  ['-', 'web:/', { to: 'guest', vm: 'web', remote: '/', local: '-' }],
])('%s to %s', (source, destination, copy) => {
  expect(parseCopy(source, destination)).toEqual(copy);
});

it.each([
  ['a', 'b'],
  ['a:/x', 'b:/y'],
  ['a:', 'b'],
  ['', 'b:/y'],
])('%j to %j is refused', (source, destination) => {
  expect(() => parseCopy(source, destination)).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }));
});

it.each([
  ['a/b/.', 'a/b', true],
  ['a/b/./', 'a/b', true],
  ['/.', '/', true],
  ['.', '.', true],
  ['./', '.', true],
  ['a/b/', 'a/b', false],
  ['/', '/', false],
  ['a/.b', 'a/.b', false],
  ['..', '..', false],
])('of %s the path is %s, contents only: %j', (text, path, contents) => {
  expect(splitContents(text)).toEqual({ path, contents });
});
