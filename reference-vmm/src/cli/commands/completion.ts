import { type Command, Argument } from 'commander';
import { completionScript } from '../completion.ts';
import { type FormatOption, formatOption, print } from '../output.ts';

const EXAMPLES = `
Examples:
  source <(reference-vmm completion bash)
  reference-vmm completion zsh >"\${fpath[1]}/_reference-vmm"
  reference-vmm completion fish >~/.config/fish/completions/reference-vmm.fish`;

const SHELLS = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof SHELLS)[number];

export function registerCompletion(program: Command): void {
  program
    .command('completion')
    .description('print what makes a shell complete commands, options and names of VMs')
    .addArgument(new Argument('<shell>', 'which shell').choices(SHELLS))
    .addOption(formatOption())
    .addHelpText('after', EXAMPLES)
    .action(async (shell: Shell, options: FormatOption) => {
      const { createProgram } = await import('../program.ts');
      const script = completionScript(shell, await createProgram());
      print(options, { shell, script }, script);
    });
}
