import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { HELP_WIDTH, fitHelp } from './help-text.ts';
import { commandOf, createProgram } from './program.ts';

function helpOf(command: Command): string {
  let help = '';
  command.configureOutput({ writeOut: (text) => (help += text), getOutHelpWidth: () => HELP_WIDTH });
  command.outputHelp();
  return fitHelp(help, HELP_WIDTH);
}

function shown(command: Command): string[] {
  return command.options.filter(({ hidden }) => !hidden).map(({ long }) => long ?? '');
}

const program = await createProgram();
const each = program.commands.map((command) => [command.name(), command] as const);

describe('the command', () => {
  it.each(each)(
    '%s has examples in its help, --format json, and says what everything is',
    (name, command) => {
      const help = helpOf(command);
      expect(help).toContain('Examples:');
      expect(help).toContain(`reference-vmm ${name}`);
      expect(help).toContain('--format');
      expect(command.description()).not.toBe('');
      for (const option of command.options) if (!option.hidden) expect(option.description).not.toBe('');
    },
  );

  it.each([['reference-vmm', program] as const, ...each])('%s has a help for 80 columns', (_, command) => {
    expect(
      helpOf(command)
        .split('\n')
        .filter((line) => line.length > HELP_WIDTH),
    ).toEqual([]);
  });

  it('loads only what is asked for', async () => {
    expect(commandOf(['list', '--format', 'json'])).toBe('list');
    expect(commandOf(['--help'])).toBeUndefined();
    expect((await createProgram('list')).commands.map((command) => command.name())).toEqual(['list']);
    expect((await createProgram('constructor')).commands.length).toBeGreaterThan(10);
  });
});

it.each<[string, readonly string[]]>([
  ['run', ['-n', '-c', '-m', '-d', '-k', '-p']],
  ['pause', ['-n']],
  ['resume', ['-n']],
  ['stop', ['-n']],
  ['list', []],
])('%s has the short options that it was promised with', (name, short) => {
  const command = program.commands.find((each) => each.name() === name);
  expect(command?.options.map((option) => option.short)).toEqual(expect.arrayContaining([...short]));
  if (short.length === 1) expect(command?.registeredArguments.map((each) => each.name())).toEqual(['name']);
});

it('docs/cli.md has every command with every option', () => {
  const docs = readFileSync(fileURLToPath(new URL('../../docs/cli.md', import.meta.url)), 'utf8');
  for (const [name, command] of each) {
    const [, section] = docs.split(new RegExp(`^## ${name}$`, 'm'));
    const [text = ''] = (section ?? '').split(/^## /m);
    for (const option of shown(command))
      expect([name, text]).toEqual([name, expect.stringContaining(option)]);
    expect(text).toContain('reference-vmm');
  }
  for (const { envVar } of [...each].flatMap(([, command]) => command.options))
    if (envVar !== undefined) expect(docs).toContain(envVar);
});

describe('a help text', () => {
  it('has remarks on lines of their own, commands continued and paragraphs filled, where they are too long', () => {
    const text = [
      'Examples:',
      '  vmm run          a remark',
      '  vmm run --with a b     a remark that is long',
      '  vmm run --with many words in it',
      '',
      'One two three four five six',
      'seven eight.',
      '',
      'short',
      'lines',
    ].join('\n');
    expect(fitHelp(text, 27)).toBe(
      [
        'Examples:',
        '  vmm run          a remark',
        '  vmm run --with a b',
        '      a remark that is long',
        '  vmm run --with many \\',
        '    words in it',
        '',
        'One two three four five six',
        'seven eight.',
        '',
        'short',
        'lines',
      ].join('\n'),
    );
    expect(fitHelp('One two three\nfour', 10)).toBe('One two\nthree four');
  });
});
