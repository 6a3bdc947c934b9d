import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TreeItem } from '../../agent/transfers.ts';
import { localTree } from './local-tree.ts';
import { TreeWriter } from './tree-writer.ts';

let scratch = '';
let root = '';

beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'vmm-copy-'));
  root = join(scratch, 'root');
  mkdirSync(root);
  writeFileSync(join(scratch, 'outside'), 'mine');
});

afterEach(() => rmSync(scratch, { recursive: true, force: true }));

async function* contentOf(text: string): AsyncGenerator<Uint8Array> {
  await Promise.resolve();
  if (text !== '') yield Buffer.from(text);
}

const base = { uid: 12345, gid: 12345, mtime: 981_173_106_789.5 };
const directory = (path: string, mode = 0o755): TreeItem => ({
  ...base,
  type: 'directory',
  path,
  mode,
  size: 0,
  content: contentOf(''),
});
const link = (path: string, target: string): TreeItem => ({
  ...base,
  type: 'symlink',
  path,
  mode: 0o777,
  size: 0,
  target,
  content: contentOf(''),
});
const file = (path: string, text = 'theirs', mode = 0o644): TreeItem => ({
  ...base,
  type: 'file',
  path,
  mode,
  size: text.length,
  content: contentOf(text),
});

async function write(...items: TreeItem[]): Promise<void> {
  const writer = new TreeWriter(root);
  for (const item of items) await writer.write(item);
  await writer.finish();
}

describe('a tree that is written', () => {
  it('has its files, links, modes and times, and nobody’s privileges', async () => {
    await write(
      directory('top', 0o500),
      file('top/a', 'text', 0o6755),
      link('top/l', 'a'),
      file('top/deeper/without/entries'),
    );
    expect(readFileSync(join(root, 'top/a'), 'utf8')).toBe('text');
    expect(readlinkSync(join(root, 'top/l'))).toBe('a');
    const found = ['top', 'top/a'].map((path) => lstatSync(join(root, path)));
    expect(found.map(({ mode, uid }) => [mode & 0o7777, uid])).toEqual([
      [0o500, process.getuid?.()],
      [0o755, process.getuid?.()],
    ]);
    for (const { mtimeMs } of [...found, lstatSync(join(root, 'top/l'))])
      expect(mtimeMs).toBeCloseTo(base.mtime, 1);
  });

  it('replaces files and links, and writes through none of them', async () => {
    symlinkSync('../outside', join(root, 'a'));
    await write(file('a'));
    expect(lstatSync(join(root, 'a')).isFile()).toBe(true);
    expect(readFileSync(join(scratch, 'outside'), 'utf8')).toBe('mine');
  });

  it.each<[string, TreeItem[]]>([
    ['a path upwards', [file('../outside')]],
    ['a path upwards from below', [directory('d'), file('d/../../outside')]],
    ['an absolute path', [file('/tmp/x')]],
    ['an empty path', [file('')]],
    ['a path with a NUL', [file('a\0b')]],
    ['a link, and a file through it', [link('l', '..'), file('l/outside')]],
    ['a link to a root, and a directory through it', [link('l', '/'), directory('l/tmp')]],
    ['a link in the place of a directory that it made', [directory('d'), link('d', '..'), file('d/outside')]],
    ['a directory in the place of a link', [link('l', '..'), directory('l', 0o777), file('l/outside')]],
    ['links one behind the other', [link('b', '..'), link('a', 'b'), file('a/outside')]],
    ['a file through a file', [file('f'), file('f/g')]],
  ])('does not escape by %s', async (_, items) => {
    await expect(write(...items)).rejects.toThrow();
    expect(readFileSync(join(scratch, 'outside'), 'utf8')).toBe('mine');
    expect(readdirSync(scratch).sort()).toEqual(['outside', 'root']);
  });

  it('does not escape by a link that was there before', async () => {
    symlinkSync('..', join(root, 'there'));
    await expect(write(file('there/outside'))).rejects.toThrow('is a link');
    expect(readFileSync(join(scratch, 'outside'), 'utf8')).toBe('mine');
  });

  it('has no half files', async () => {
    const broken = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.from('half');
      await Promise.reject(new Error('it broke off'));
    };
    await expect(write({ ...file('a'), content: broken() })).rejects.toThrow('broke off');
    expect(readdirSync(root)).toEqual([]);
  });
});

it('a tree of this machine is read with its links, and without what is no file', async () => {
  await write(directory('top', 0o750), file('top/a', 'text', 0o640), link('top/l', 'a'));
  const found = [];
  const leftOut: string[] = [];
  for await (const { content, ...entry } of localTree(join(root, 'top'), 'name', (path) =>
    leftOut.push(path),
  )) {
    let text = '';
    for await (const chunk of content ?? []) text += Buffer.from(chunk).toString();
    found.push([entry.type, entry.path, entry.mode, entry.uid, text, entry.target]);
  }
  expect(found).toEqual([
    ['directory', 'name', 0o750, 0, '', undefined],
    ['file', 'name/a', 0o640, 0, 'text', undefined],
    ['symlink', 'name/l', 0o777, 0, '', 'a'],
  ]);
  for await (const { path } of localTree('/dev/null', 'null', (each) => leftOut.push(each)))
    found.push([path]);
  expect([found.length, leftOut]).toEqual([3, ['/dev/null']]);
});
