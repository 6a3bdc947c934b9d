import {
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { AgentHarness, failure } from '../../test/agent-harness.ts';
import type { TreeItem, TreeSource } from './transfers.ts';

const guest = AgentHarness.use();

describe('files', () => {
  const base = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, mtime: 1_600_000_000_123 };
  const big = Buffer.alloc(1_500_000, 'content');
  const tree: TreeSource[] = [
    { ...base, type: 'directory', path: 'top', mode: 0o750, size: 0 },
    { ...base, type: 'file', path: 'top/big', mode: 0o640, size: big.length, content: [big] },
    { ...base, type: 'file', path: 'top/empty', mode: 0o4755, size: 0 },
    { ...base, type: 'symlink', path: 'top/link', mode: 0o777, size: 0, target: '../else where' },
  ];

  async function collect(path: string): Promise<(Omit<TreeItem, 'content'> & { data: Buffer })[]> {
    const found = [];
    for await (const { content, ...entry } of guest.agent.get(path)) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of content) chunks.push(chunk);
      found.push({ ...entry, data: Buffer.concat(chunks) });
    }
    return found.sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  it('go there and come back as they were', async () => {
    await guest.agent.put(guest.scratch, tree);
    const top = join(guest.scratch, 'top');
    expect(readFileSync(join(top, 'big')).equals(big)).toBe(true);
    expect(statSync(join(top, 'empty')).mode & 0o7777).toBe(0o4755);
    expect(readlinkSync(join(top, 'link'))).toBe('../else where');
    expect(lstatSync(join(top, 'link')).mtimeMs).toBe(base.mtime);
    const found = await collect(`${top}/`);
    expect(
      found.map(({ data, mtime, ...entry }) => [
        entry,
        data.length,
        entry.type === 'directory' ? base.mtime : mtime,
      ]),
    ).toEqual(
      tree.map(({ content, mtime, ...entry }) => [entry, content === undefined ? 0 : entry.size, mtime]),
    );
    expect(found[1]!.data.equals(big)).toBe(true);
  });

  it('replace files and links, and follow no link', async () => {
    const directory = join(guest.scratch, 'replace');
    mkdirSync(directory);
    writeFileSync(join(directory, 'outside'), 'mine');
    symlinkSync('outside', join(directory, 'a'));
    symlinkSync('.', join(directory, 'through'));
    const file = (path: string): TreeSource => ({
      ...base,
      type: 'file',
      path,
      mode: 0o600,
      size: 3,
      content: [Buffer.from('new')],
    });
    await guest.agent.put(directory, [file('a')]);
    expect(readFileSync(join(directory, 'outside'), 'utf8')).toBe('mine');
    expect(readFileSync(join(directory, 'a'), 'utf8')).toBe('new');
    await expect(guest.agent.put(directory, [file('through/outside')])).rejects.toEqual(
      failure('GUEST_ERROR', 'ENOTDIR'),
    );
    for (const path of ['../x', '/x', 'a//b', './x', ''])
      await expect(guest.agent.put(directory, [file(path)])).rejects.toEqual(failure('INVALID_REQUEST'));
  });

  it('that cannot be read or written are refused with the reason', async () => {
    await expect(collect('/no/such')).rejects.toEqual(failure('GUEST_ERROR', 'ENOENT'));
    await expect(guest.agent.put('/no/such', tree)).rejects.toEqual(failure('GUEST_ERROR', 'ENOENT'));
    await expect(guest.agent.put('relative', tree)).rejects.toEqual(failure('INVALID_REQUEST'));
    const short = { ...tree[1]!, content: [Buffer.from('short')] };
    await expect(guest.agent.put(guest.scratch, [tree[0]!, short])).rejects.toEqual(
      failure('INVALID_REQUEST'),
    );
    const deep = Array.from({ length: 80 }, (_, i) => 'd/'.repeat(i) + 'd');
    await guest.agent.put(
      guest.scratch,
      deep.map((path) => ({ ...tree[0]!, path })),
    );
    await expect(collect(join(guest.scratch, 'd'))).rejects.toEqual(failure('GUEST_ERROR', 'ELOOP'));
  });

  it('may be left half-way', async () => {
    writeFileSync(join(guest.scratch, 'large'), Buffer.alloc(4_000_000));
    for await (const { content } of guest.agent.get(join(guest.scratch, 'large'))) {
      for await (const chunk of content) {
        expect(chunk.length).toBeGreaterThan(0);
        break;
      }
      break;
    }
    const controller = new AbortController();
    const reason = new Error('enough');
    const endless = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.alloc(100_000);
      controller.abort(reason);
      await new Promise(() => undefined);
    };
    const source = { ...tree[1]!, path: 'half', content: endless() };
    await expect(guest.agent.put(guest.scratch, [source], { signal: controller.signal })).rejects.toBe(
      reason,
    );
    await guest.agent.ping();
  });

  it('of times before the epoch and between milliseconds', async () => {
    await guest.agent.put(guest.scratch, [
      { ...base, type: 'file', path: 'old', mode: 0o600, size: 0, mtime: -1500.5 },
    ]);
    const [found] = await collect(join(guest.scratch, 'old'));
    expect(found!.mtime).toBe(-1500.5);
  });
});
