import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { ControlClient, list } from '@vmm/reference-vmm';
import { BOOT_TIMEOUT, type CliResult, cli, runtimeScratch } from './support.ts';

jest.setTimeout(BOOT_TIMEOUT);

/** Answers each line with a number that only this guest knows: how many it has heard. */
const GUEST = 'n=0; while read line; do n=$((n + 1)); echo "$n $line"; done; exit 9';

describe('the commands snapshot and restore', () => {
  const scratch = runtimeScratch(async () => {
    for (const { name } of await list({ timeout: 60_000 })) await ControlClient.connect(name).kill();
  });
  const place = (name: string): string => join(scratch.path, name);
  const json = ({ stdout }: CliResult): unknown => JSON.parse(stdout.toString());
  const text = ({ stdout }: CliResult): string => stdout.toString();

  beforeAll(async () => {
    const options = ['--detach', '-i', '--hypervisor', 'wasm', '--memory', '96', '--name', 'web'];
    expect(text(await cli(['run', ...options, '--', 'sh', '-c', GUEST]))).toBe('web\n');
    await typed('web', 'first', '1 first');
  });

  /** Types a line into a VM, and waits for the answer. */
  async function typed(name: string, line: string, answer: string): Promise<void> {
    const console = await ControlClient.connect(name).console();
    let seen = '';
    const answered = new Promise<void>((resolve, reject) => {
      console.on('data', (bytes: Uint8Array) => {
        seen += Buffer.from(bytes).toString();
        if (seen.includes(`${answer}\n`)) resolve();
      });
      console.on('error', reject).on('close', () => reject(new Error(`no answer: ${seen}`)));
    });
    console.write(`${line}\n`);
    await answered;
    console.destroy();
  }

  it('write a VM that goes on, whole or what changed, and go on from it in the terminal', async () => {
    const whole = await cli(['snapshot', 'web', place('whole'), '--track']);
    expect([whole.code, whole.stderr]).toEqual([0, '']);
    expect(text(whole)).toMatch(/^web: 96 MiB in \/.*\/whole; it stood still for \d+ ms\n$/);
    await typed('web', 'second', '2 second');
    const changed = await cli([
      'snapshot',
      '-n',
      'web',
      place('changed'),
      '--base',
      place('whole'),
      '--format',
      'json',
    ]);
    expect(json(changed)).toMatchObject({ directory: place('changed'), kind: 'differential' });
    expect(readdirSync(place('changed')).sort()).toEqual(['memory.diff', 'snapshot.json']);
    await typed('web', 'third', '3 third');

    const restored = await cli(['restore', place('changed'), '--name', 'copy'], { stdin: 'other\n' });
    expect([restored.code, text(restored)]).toEqual([9, '3 other\n']);
    const earlier = await cli(['restore', place('whole'), '--name', 'copy', '--verify', '--format', 'json'], {
      stdin: 'x\n',
    });
    expect(earlier.code).toBe(9);
    expect(json(earlier)).toMatchObject({ name: 'copy', reason: { kind: 'exited', code: 9 }, exitCode: 9 });
    expect(earlier.stderr).toContain('2 x\n');
  });

  it('go on in a process of its own, at once or when it is told to', async () => {
    const detached = await cli([
      'restore',
      place('changed'),
      '-n',
      'still',
      '--paused',
      '--detach',
      '-i',
      '--format',
      'json',
    ]);
    expect(json(detached)).toMatchObject({ name: 'still', state: 'paused', memory: 96 << 20 });
    const client = ControlClient.connect('still');
    expect((await client.resume()).state).toBe('running');
    await typed('still', 'now', '3 now');
    // It can be written itself.
    expect((await client.snapshot({ directory: place('again') })).kind).toBe('full');
    await client.kill();
  });

  it('say what is wrong, also as JSON', async () => {
    const refusals: [readonly string[], number, string][] = [
      [['snapshot', 'web'], 2, 'INVALID_CONFIG'],
      [['snapshot', 'nobody', place('x')], 1, 'NO_SUCH_VM'],
      [['snapshot', 'web', place('x'), '--base', place('nothing')], 1, 'FILE_NOT_FOUND'],
      [['snapshot', 'web', place('whole'), '--base', place('changed')], 1, 'SNAPSHOT_FAILED'],
      [['restore', place('nothing')], 125, 'FILE_NOT_FOUND'],
      [['restore', place('whole')], 125, 'NAME_TAKEN'],
      [['restore', place('whole'), '-n', 'x', '-d', place('disk')], 125, 'SNAPSHOT_MISMATCH'],
      [['restore', place('nothing'), '--detach'], 125, 'FILE_NOT_FOUND'],
    ];
    for (const [args, code, reason] of refusals) {
      const result = await cli([...args, '--format', 'json']);
      expect([args, result.code, json(result)]).toMatchObject([args, code, { error: { code: reason } }]);
      expect(result.stderr).toContain(`[${reason}]`);
    }
    expect((await ControlClient.connect('web').info()).state).toBe('running');
  });
});
