import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ownIdentity } from '../process-identity.ts';
import { MANIFEST_FILE, recover, replaceDirectory } from './snapshot-directory.ts';

/** A process that there is not: of this pid, and started before this one was. */
const KILLED = `${process.pid}-1`;
const refused = expect.objectContaining({ code: 'SNAPSHOT_FAILED' }) as unknown;

describe('the directory of a snapshot', () => {
  let parent: string;
  let target: string;

  beforeEach(() => {
    parent = mkdtempSync(join(tmpdir(), 'snapshot-directory-'));
    target = join(parent, 'saved');
  });
  afterEach(() => rmSync(parent, { recursive: true }));

  const fill = (text: string) => (directory: string) => {
    writeFileSync(join(directory, MANIFEST_FILE), text);
    return Promise.resolve();
  };
  const content = (): string => readFileSync(join(target, MANIFEST_FILE), 'utf8');

  it('is made, with what is above it, and replaced', async () => {
    target = join(parent, 'a', 'b');
    await replaceDirectory(target, fill('one'));
    expect(content()).toBe('one');
    await replaceDirectory(target, fill('two'));
    expect(content()).toBe('two');
    expect(readdirSync(join(parent, 'a'))).toEqual(['b']);
  });

  it('stays as it is when the new one fails', async () => {
    await replaceDirectory(target, fill('one'));
    const error = new Error('no space');
    await expect(
      replaceDirectory(target, async (directory) => {
        await fill('two')(directory);
        throw error;
      }),
    ).rejects.toBe(error);
    expect(content()).toBe('one');
    expect(readdirSync(parent)).toEqual(['saved']);
  });

  it('is not there when the first one fails', async () => {
    await expect(replaceDirectory(target, () => Promise.reject(new Error('no space')))).rejects.toThrow();
    expect(readdirSync(parent)).toEqual([]);
  });

  it('with something else in it is left alone', async () => {
    mkdirSync(target);
    writeFileSync(join(target, 'thesis.tex'), '');
    await expect(replaceDirectory(target, fill('one'))).rejects.toEqual(refused);
    expect(readdirSync(target)).toEqual(['thesis.tex']);
    writeFileSync(join(parent, 'file'), '');
    await expect(replaceDirectory(join(parent, 'file'), fill('one'))).rejects.toEqual(refused);
  });

  it('comes back when a process was killed while it replaced it', async () => {
    await replaceDirectory(target, fill('one'));
    const aside = join(parent, `.saved.replaced-${KILLED}-x`);
    mkdirSync(aside);
    renameSync(target, join(aside, 'saved'));
    await recover(target);
    expect(content()).toBe('one');
    expect(existsSync(aside)).toBe(false);
    await recover(join(parent, 'nothing', 'there'));
  });

  it('what killed processes left beside it goes with the next one; what others are at stays', async () => {
    await replaceDirectory(target, fill('one'));
    for (const name of ['.saved.unfinished-1-x', '.other.unfinished-x'].map((each) =>
      each.replace('1-x', `${KILLED}-x`),
    ))
      mkdirSync(join(parent, name));
    mkdirSync(join(parent, `.saved.replaced-${KILLED}-y`, 'saved'), { recursive: true });
    const { pid, startTime } = ownIdentity();
    const alive = `.saved.unfinished-${pid}-${startTime}-z`;
    mkdirSync(join(parent, alive));
    await replaceDirectory(target, fill('two'));
    expect(content()).toBe('two');
    expect(readdirSync(parent).sort()).toEqual(['.other.unfinished-x', alive, 'saved'].sort());
  });

  it('that another process is just replacing is waited for', async () => {
    const { pid, startTime } = ownIdentity();
    const aside = join(parent, `.saved.replaced-${pid}-${startTime}-x`);
    mkdirSync(join(aside, 'saved'), { recursive: true });
    writeFileSync(join(aside, 'saved', MANIFEST_FILE), 'old');
    const recovered = recover(target);
    mkdirSync(target);
    await fill('new')(target);
    await recovered;
    expect(content()).toBe('new');
    expect(existsSync(join(aside, 'saved'))).toBe(true);
  });
});
