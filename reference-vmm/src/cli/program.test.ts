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
