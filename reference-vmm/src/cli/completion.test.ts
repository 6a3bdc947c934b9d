import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { completionScript } from './completion.ts';
import { createProgram } from './program.ts';

const directory = mkdtempSync(join(tmpdir(), 'vmm-completion-'));
const environment = {
  ...process.env,
  XDG_RUNTIME_DIR: directory,
  XDG_CONFIG_HOME: directory,
  ZDOTDIR: directory,
  HOME: directory,
  TERM: 'dumb',
};
for (const name of ['web', 'db']) mkdirSync(join(directory, 'reference-vmm', name), { recursive: true });
writeFileSync(join(directory, 'Image.gz'), '');
afterAll(() => rmSync(directory, { recursive: true }));

/** What is typed, and what the key for completion makes of it. */
const CASES: readonly (readonly [string, string])[] = [
  ['pa', 'pause'],
  ['comp', 'completion'],
  ['stop --gr', 'stop --grace'],
  ['run --boot', 'run --boot-protocol'],
  ['run --ring p', 'run --ring packed'],
  ['run -n x --hypervisor w', 'run -n x --hypervisor wasm'],
  ['list --format j', 'list --format json'],
  ['stop w', 'stop web'],
  ['pause -n d', 'pause -n db'],
  ['stats --name w', 'stats --name web'],
  ['completion f', 'completion fish'],
  ['run --kernel Im', 'run --kernel Image.gz'],
];

/** Says what is on the line when Ctrl-G is pressed, and empties it. */
const SHELLS = {
  bash: {
    command: (rc: string) => `bash --noprofile --rcfile ${rc} -i`,
    file: 'bashrc',
    rc: `
report() { printf '<<%s>>\\n' "$READLINE_LINE"; READLINE_LINE=''; READLINE_POINT=0; }
bind -x '"\\C-g": report'
PS1='ready> '`,
  },
  zsh: {
    command: () => 'zsh -d -i',
    file: '.zshrc',
    rc: `
report() { print -r -- "<<$BUFFER>>"; BUFFER=''; }
zle -N report
bindkey '^G' report
PS1='ready> '`,
  },
};

/** Types into a shell at a terminal. */
async function typed(shell: keyof typeof SHELLS, lines: readonly string[]): Promise<string[]> {
  const { command, file, rc } = SHELLS[shell];
  const script = join(directory, `completion.${shell}`);
  writeFileSync(script, completionScript(shell, await createProgram()));
  const path = join(directory, file);
  const load = shell === 'zsh' ? `autoload -Uz compinit; compinit -u -D\n` : '';
  writeFileSync(path, `${load}source ${script}\n${rc}\n`);
  const child = spawn('socat', ['-', `EXEC:"${command(path)}",pty,setsid,ctty,stderr`], {
    cwd: directory,
    env: environment,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  try {
    return await new Promise((resolve, reject) => {
      let output = '';
      const found: string[] = [];
      const type = (): void => void child.stdin.write(`reference-vmm ${lines[found.length]!}\t\x07`);
      let ready = false;
      child.stdout.on('data', (bytes: Buffer) => {
        output += bytes.toString('utf8');
        if (!ready && output.includes('ready> ')) {
          ready = true;
          type();
        }
        for (let match; (match = /<<(.*?)>>/s.exec(output)) !== null;) {
          output = output.slice(match.index + match[0].length);
          found.push(match[1]!.trim().replace(/^reference-vmm /, ''));
          if (found.length === lines.length) resolve(found);
          else type();
        }
      });
      child.on('error', reject);
      child.on('close', () => reject(new Error(`${shell} ended: ${output}`)));
    });
  } finally {
    child.kill();
  }
}

describe('completion in the shell itself', () => {
  it.each(['bash', 'zsh'] as const)('of %s', async (shell) => {
    const lines = CASES.map(([line]) => line);
    expect(await typed(shell, lines)).toEqual(CASES.map(([, completed]) => completed));
  });

  it('of fish, with descriptions', async () => {
    const script = join(directory, 'completion.fish');
    writeFileSync(script, completionScript('fish', await createProgram()));
    const ask = CASES.map(([line]) => `complete -C 'reference-vmm ${line}'; echo end`).join('\n');
    const { stdout, stderr } = spawnSync('fish', ['--no-config', '-c', `source ${script}\n${ask}`], {
      cwd: directory,
      env: environment,
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
    const answers = stdout.split('end\n').map((each) => each.split('\n')[0]!.split('\t'));
    for (const [index, [, completed]] of CASES.entries()) {
      expect(answers[index]?.[0]).toBe(completed.split(' ').at(-1));
    }
    expect(answers[0]?.[1]).toMatch(/stand still/);
  });
});

/** All that bash completes the last word to. */
async function candidates(...words: string[]): Promise<string[]> {
  const script = `${completionScript('bash', await createProgram())}
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _reference_vmm; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr } = spawnSync('bash', ['-c', script, 'bash', 'reference-vmm', ...words], {
    encoding: 'utf8',
    env: environment,
  });
  expect(stderr).toBe('');
  return stdout.split('\n').filter((line) => line !== '');
}

describe('completion', () => {
  it('has every command and every option that the help has', async () => {
    const { commands } = await createProgram();
    expect((await candidates('')).sort()).toEqual(commands.map((command) => command.name()).sort());
    for (const command of commands) {
      const options = command.options.filter(({ hidden }) => !hidden).map(({ long }) => long);
      expect(await candidates(command.name(), '--')).toEqual(options);
    }
  });

  it('offers names where a VM is meant, and nothing in what is the guest’s or has no choice', async () => {
    expect((await candidates('stop', '')).sort()).toEqual(['db', 'web']);
    expect(await candidates('stop', '--grace', '')).toEqual([]);
    expect(await candidates('run', '--', '--')).toEqual([]);
  });
});
