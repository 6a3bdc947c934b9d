import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { completionScript } from './completion.ts';
import { commandOf, createProgram } from './program.ts';

describe('the command', () => {
  it('has examples in the help of every subcommand, and --format json', async () => {
    const { commands } = await createProgram();
    expect(commands.length).toBeGreaterThan(10);
    for (const command of commands) {
      let help = '';
      command.configureOutput({ writeOut: (text) => (help += text) });
      command.outputHelp();
      expect(help).toContain('Examples:');
      expect(help).toContain(`reference-vmm ${command.name()}`);
      expect(help).toContain('--format');
    }
  });

  it('loads only what is asked for', async () => {
    expect(commandOf(['list', '--format', 'json'])).toBe('list');
    expect(commandOf(['--help'])).toBeUndefined();
    expect((await createProgram('list')).commands.map((command) => command.name())).toEqual(['list']);
    expect((await createProgram('constructor')).commands.length).toBeGreaterThan(10);
  });
});

describe('completion', () => {
  /** What bash completes the last word to. */
  async function completed(...words: string[]): Promise<string[]> {
    const runtime = mkdtempSync(join(tmpdir(), 'vmm-completion-'));
    try {
      for (const name of ['web', 'db']) mkdirSync(join(runtime, 'reference-vmm', name), { recursive: true });
      const script = `${completionScript('bash', await createProgram())}
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _reference_vmm; printf '%s\\n' "\${COMPREPLY[@]}"`;
      const { stdout, stderr } = spawnSync('bash', ['-c', script, 'bash', 'reference-vmm', ...words], {
        encoding: 'utf8',
        env: { ...process.env, XDG_RUNTIME_DIR: runtime },
      });
      expect(stderr).toBe('');
      return stdout.split('\n').filter((line) => line !== '');
    } finally {
      rmSync(runtime, { recursive: true });
    }
  }

  it('of bash completes commands, options, their values and names of VMs', async () => {
    expect(await completed('pa')).toEqual(['pause']);
    expect(await completed('stop', '--g')).toEqual(['--grace']);
    expect(await completed('run', '--ring', '')).toEqual(['split', 'packed']);
    expect((await completed('stop', '')).sort()).toEqual(['db', 'web']);
    expect(await completed('pause', '-n', 'w')).toEqual(['web']);
    expect(await completed('completion', 'f')).toEqual(['fish']);
    expect(await completed('run', '--', '--')).toEqual([]);
  });

  it('of zsh and fish has all of that too', async () => {
    const program = await createProgram();
    const zsh = completionScript('zsh', program);
    expect(zsh).toMatch(/^#compdef reference-vmm\n/);
    expect(zsh).toContain("'--grace:");
    expect(zsh).toContain("'run --ring') compadd -- split packed");
    const fish = completionScript('fish', program);
    expect(fish).toContain("-n '__fish_seen_subcommand_from run' -l ring -x -a 'split packed'");
    expect(
      fish.split('\n').every((line) => line === '' || line.startsWith('complete -c reference-vmm ')),
    ).toBe(true);
  });
});
