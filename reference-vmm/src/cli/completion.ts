import type { Command } from 'commander';

/** An option, by its long name, short name, and the words that may follow it. */
interface OptionWords {
  readonly long: string;
  readonly short: string | undefined;
  readonly description: string;
  readonly takesValue: boolean;
  readonly choices: readonly string[];
}

interface CommandWords {
  readonly name: string;
  readonly description: string;
  readonly options: readonly OptionWords[];
  /** Words that may come by themselves. */
  readonly operands: readonly string[];
  /** The names of VMs are such words, and come after `-n`. */
  readonly takesVm: boolean;
}

/** What makes a shell complete the command: made of what commander knows of it. */
export function completionScript(shell: 'bash' | 'zsh' | 'fish', program: Command): string {
  const commands = program.commands.map(wordsOf);
  switch (shell) {
    case 'bash':
      return bash(commands);
    case 'zsh':
      return zsh(commands);
    case 'fish':
      return fish(commands);
  }
}

function wordsOf(command: Command): CommandWords {
  const [operand] = command.registeredArguments;
  return {
    name: command.name(),
    description: command.description(),
    options: command.options
      .filter(({ hidden, long }) => !hidden && long !== undefined)
      .map(({ long, short, description, required, optional, argChoices }) => ({
        long: long ?? '',
        short: short ?? undefined,
        description,
        takesValue: required || optional,
        choices: argChoices ?? [],
      })),
    operands: operand?.argChoices ?? [],
    takesVm: operand?.name() === 'name',
  };
}

/** Text as one word of a shell of sh's kind. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Lists the names of VMs, where they have their directories. */
const LIST_NAMES = `ls "$([ -n "$XDG_RUNTIME_DIR" ] && echo "$XDG_RUNTIME_DIR/reference-vmm" || echo "\${TMPDIR:-/tmp}/reference-vmm-$(id -u)")" 2>/dev/null`;
const NAMES = '$(_reference_vmm_names)';
/** A function of bash and zsh. */
const NAMES_FUNCTION = `_reference_vmm_names() {
  ${LIST_NAMES}
}`;

function flags({ options }: CommandWords): string[] {
  return options.flatMap(({ long, short }) => (short === undefined ? [long] : [short, long]));
}

/** Cases of a shell for words that follow an option; files where there is no choice. */
function valueCases(
  commands: readonly CommandWords[],
  complete: (words: string) => string,
  files: string,
): string[] {
  return commands.flatMap((command) =>
    command.options.flatMap(({ long, short, choices, takesValue }) => {
      if (!takesValue) return [];
      const words =
        choices.length > 0 ? choices.join(' ') : long === '--name' && command.takesVm ? NAMES : undefined;
      const names = [long, ...(short === undefined ? [] : [short])];
      const pattern = names.map((name) => quoted(`${command.name} ${name}`)).join(' | ');
      return [`    ${pattern}) ${words === undefined ? files : complete(words)} ;;`];
    }),
  );
}

function bash(commands: readonly CommandWords[]): string {
  const words = (list: string): string => `words="${list}"`;
  return `${NAMES_FUNCTION}
_reference_vmm() {
  local current=\${COMP_WORDS[COMP_CWORD]} words='' word
  COMPREPLY=()
  # What comes after -- is the guest's.
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do [ "$word" = -- ] && return; done
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${commands.map(({ name }) => name).join(' ')}" -- "$current"))
    return
  fi
  case "\${COMP_WORDS[1]} \${COMP_WORDS[COMP_CWORD-1]}" in
${valueCases(commands, words, 'return').join('\n')}
  esac
  [ -n "$words" ] || case "\${COMP_WORDS[1]} $current" in
${commands
  .map((command) => {
    const operands = command.takesVm ? NAMES : command.operands.join(' ');
    return [
      `    ${quoted(`${command.name} -`)}*) ${words(flags(command).join(' '))} ;;`,
      ...(operands === '' ? [] : [`    ${quoted(`${command.name} `)}*) ${words(operands)} ;;`]),
    ].join('\n');
  })
  .join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _reference_vmm reference-vmm
`;
}

function zsh(commands: readonly CommandWords[]): string {
  const described = (name: string, description: string): string => quoted(`${name}:${description}`);
  return `#compdef reference-vmm
${NAMES_FUNCTION}
_reference_vmm() {
  local -a found
  # What comes after -- is the guest's.
  if (( \${words[(I)--]} > 0 && \${words[(I)--]} < CURRENT )); then _files; return; fi
  if (( CURRENT == 2 )); then
    found=(${commands.map(({ name, description }) => described(name, description)).join(' ')})
    _describe command found
    return
  fi
  case "$words[2] $words[CURRENT-1]" in
${valueCases(commands, (list) => `compadd -- ${list}; return`, '_files; return').join('\n')}
  esac
  case "$words[2] $words[CURRENT]" in
${commands
  .map((command) => {
    const options = command.options.map(({ long, description }) => described(long, description)).join(' ');
    const operands = command.takesVm ? NAMES : command.operands.join(' ');
    return [
      `    ${quoted(`${command.name} -`)}*) found=(${options}); _describe -o option found ;;`,
      ...(operands === '' ? [] : [`    ${quoted(`${command.name} `)}*) compadd -- ${operands} ;;`]),
    ].join('\n');
  })
  .join('\n')}
    *) _files ;;
  esac
}
if [[ \${zsh_eval_context[-1]} == loadautofunc ]]; then _reference_vmm "$@"; else compdef _reference_vmm reference-vmm; fi
`;
}

function fish(commands: readonly CommandWords[]): string {
  const word = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
  const lines = commands.flatMap((command) => {
    const { name, description, options, operands, takesVm } = command;
    const here = `complete -c reference-vmm -n ${word(`__fish_seen_subcommand_from ${name}`)}`;
    return [
      `complete -c reference-vmm -f -n __fish_use_subcommand -a ${name} -d ${word(description)}`,
      ...options.map(({ long, short, takesValue, choices, description: what }) => {
        const names = `-l ${long.slice(2)}${short === undefined ? '' : ` -s ${short.slice(1)}`}`;
        const vm = long === '--name' && takesVm;
        const values =
          choices.length > 0
            ? ` -x -a ${word(choices.join(' '))}`
            : vm
              ? ` -x -a ${word(`(sh -c ${word(LIST_NAMES)})`)}`
              : takesValue
                ? ' -r'
                : '';
        return `${here} ${names}${values} -d ${word(what)}`;
      }),
      ...(takesVm ? [`${here} -f -a ${word(`(sh -c ${word(LIST_NAMES)})`)}`] : []),
      ...(operands.length > 0 ? [`${here} -f -a ${word(operands.join(' '))}`] : []),
    ];
  });
  return `${lines.join('\n')}\n`;
}
