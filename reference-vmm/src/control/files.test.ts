import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TreeItem, type TreeSource } from '../agent/transfers.ts';
import { TestServer } from '../../test/control-server.ts';
import { tarOf, untar } from './tar.ts';

const failure = (code: string, cause?: string): unknown =>
  expect.objectContaining({
    name: 'VmmError',
    code,
    ...(cause === undefined ? {} : { cause: expect.objectContaining({ code: cause }) }),
  });

const base = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, mtime: 1_600_000_000_123.456 };
const big = Buffer.alloc(1_500_000, 'content');
const long = `top/${'a long name '.repeat(15)}ü`;
const tree: TreeSource[] = [
  { ...base, type: 'directory', path: 'top', mode: 0o750, size: 0 },
  { ...base, type: 'file', path: 'top/big', mode: 0o640, size: big.length, content: [big] },
  { ...base, type: 'file', path: 'top/empty', mode: 0o4755, size: 0 },
  { ...base, type: 'symlink', path: 'top/link', mode: 0o777, size: 0, target: '../else where' },
  { ...base, type: 'file', path: long, mode: 0o600, size: 3, content: [Buffer.from('abc')] },
];

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

type Found = Omit<TreeItem, 'content'> & { readonly sha256: string };

async function collect(items: AsyncIterable<TreeItem>): Promise<Found[]> {
  const found: Found[] = [];
  for await (const { content, ...entry } of items) {
    const chunks: Uint8Array[] = [];
    for await (const chunk of content) chunks.push(chunk);
    found.push({ ...entry, sha256: sha256(Buffer.concat(chunks)) });
  }
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

const expected = tree
  .map(({ content, ...entry }) => ({
    ...entry,
    sha256: sha256(Buffer.concat([...((content as Buffer[] | undefined) ?? [])])),
  }))
  .sort((a, b) => (a.path < b.path ? -1 : 1));

describe('a tar stream', () => {
  it('holds what a tree has: long names, owners, sizes and times out of the range of plain headers', async () => {
    const odd = [
      { ...base, type: 'file' as const, path: 'old', mode: 0o600, size: 0, mtime: -1500.5 },
      {
        ...base,
        type: 'file' as const,
        path: 'owned',
        mode: 0o600,
        size: 0,
        uid: 4_000_000_000,
        gid: 3_000_000,
      },
      { ...base, type: 'symlink' as const, path: 'far', mode: 0o777, size: 0, target: 'x/'.repeat(200) },
    ];
    const found = await collect(untar(tarOf([...tree, ...odd])));
    const all = [...expected, ...odd.map((entry) => ({ ...entry, sha256: sha256(Buffer.alloc(0)) }))];
    expect(found).toEqual(
      all
        .sort((a, b) => (a.path < b.path ? -1 : 1))
        .map((entry) => ({
          ...entry,
          mtime: expect.closeTo(entry.mtime, 3) as number,
        })),
    );
  });

  it('may be cut anywhere, and its contents may be left', async () => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of tarOf(tree)) chunks.push(chunk);
    const all = Buffer.concat(chunks);
    const cut = async function* (): AsyncGenerator<Uint8Array> {
      await Promise.resolve();
      for (let at = 0; at < all.length; at += 777) yield all.subarray(at, at + 777);
    };
    const paths: string[] = [];
    for await (const { path } of untar(cut())) paths.push(path);
    expect(paths).toEqual(tree.map(({ path }) => path));
  });

  it.each([
    ['no tar', Buffer.alloc(2000, 'x')],
    ['half of one', Buffer.concat([Buffer.from('x')])],
  ])('that is %s is refused', async (_, bytes) => {
    const source = async function* (): AsyncGenerator<Uint8Array> {
      await Promise.resolve();
      yield bytes;
    };
    await expect(collect(untar(source()))).rejects.toEqual(failure('INVALID_REQUEST'));
  });
});

describe('files by the control socket', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await TestServer.start({ close: 100, request: 1 });
  });
  afterAll(() => server[Symbol.asyncDispose]());

  it('go there and come back as they were', async () => {
    await server.client.put(server.scratch, tree);
    const top = join(server.scratch, 'top');
    expect(readFileSync(join(top, 'big')).equals(big)).toBe(true);
    expect(statSync(join(top, 'empty')).mode & 0o7777).toBe(0o4755);
    expect(readlinkSync(join(top, 'link'))).toBe('../else where');
    expect(lstatSync(join(top, 'link')).mtimeMs).toBeCloseTo(base.mtime, 2);
    const found = await collect(server.client.get(`${top}/`));
    expect(found.map((entry) => ({ ...entry, mtime: 0 }))).toEqual(
      expected.map((entry) => ({ ...entry, mtime: 0 })),
    );
    expect(found.find(({ path }) => path === 'top')!.mtime).toBeCloseTo(base.mtime, 2);
  });

  it('that cannot be read or written are refused with the reason of the guest', async () => {
    await expect(collect(server.client.get('/no/such'))).rejects.toEqual(failure('GUEST_ERROR', 'ENOENT'));
    await expect(collect(server.client.get('relative'))).rejects.toEqual(failure('INVALID_REQUEST'));
    await expect(server.client.put('/no/such', tree)).rejects.toEqual(failure('GUEST_ERROR', 'ENOENT'));
    await expect(server.client.put('/etc/passwd', [])).rejects.toEqual(failure('GUEST_ERROR', 'ENOTDIR'));
    const short = { ...tree[1]!, path: 'short', content: [Buffer.from('short')] };
    await expect(server.client.put(server.scratch, [short])).rejects.toEqual(failure('INVALID_REQUEST'));
  });

  it('follow no link in the guest, and have no way out', async () => {
    const directory = join(server.scratch, 'links');
    mkdirSync(directory);
    symlinkSync(server.scratch, join(directory, 'through'));
    const file = (path: string): TreeSource => ({
      ...base,
      type: 'file',
      path,
      mode: 0o600,
      size: 1,
      content: [Buffer.from('x')],
    });
    await expect(server.client.put(directory, [file('through/outside')])).rejects.toEqual(
      failure('GUEST_ERROR', 'ENOTDIR'),
    );
    for (const path of ['../x', '/x', 'a/../../x'])
      await expect(server.client.put(directory, [file(path)])).rejects.toEqual(failure('INVALID_REQUEST'));
    expect(readdirSync(directory)).toEqual(['through']);
  });

  it('may be left half-way, both ways, and the next come through', async () => {
    writeFileSync(join(server.scratch, 'large'), Buffer.alloc(20_000_000));
    for await (const { content } of server.client.get(join(server.scratch, 'large'))) {
      for await (const chunk of content) {
        expect(chunk.length).toBeGreaterThan(0);
        break;
      }
      break;
    }
    const abort = new AbortController();
    const reason = new Error('enough');
    const endless = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.alloc(100_000);
      abort.abort(reason);
      await new Promise(() => undefined);
    };
    const source = { ...tree[1]!, path: 'half', content: endless() };
    await expect(server.client.put(server.scratch, [source], { signal: abort.signal })).rejects.toBe(reason);

    const socket = server.connect().on('error', () => undefined);
    socket.write(
      `PUT /v1/files?path=${server.scratch} HTTP/1.1\r\nHost: vm\r\nContent-Length: 99999\r\n\r\nx`,
    );
    socket.end();
    socket.resume();
    await once(socket, 'close');
    const slow = server.connect().on('error', () => undefined);
    slow.write(`GET /v1/files?path=${server.scratch}/large HTTP/1.1\r\nHost: vm\r\n\r\n`);
    await once(slow, 'readable');
    slow.destroy();
    expect(await collect(server.client.get(join(server.scratch, 'top/empty')))).toHaveLength(1);
  });

  it.each([
    ['no path', '/v1/files', 400],
    ['a path that is none', '/v1/files?path=x', 400],
    ['another parameter', '/v1/files?path=/&a=b', 400],
  ])('are refused for %s', async (_, path, status) => {
    const socket = server.connect();
    socket.write(`GET ${path} HTTP/1.1\r\nHost: vm\r\n\r\n`);
    const [answer] = (await once(socket, 'data')) as [Buffer];
    expect(answer.toString()).toContain(`HTTP/1.1 ${status} `);
    socket.destroy();
  });
});
