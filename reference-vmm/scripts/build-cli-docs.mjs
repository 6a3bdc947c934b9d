// Writes what docs/cli.md says of each command, from the help texts. After a build.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { fitHelp } from '../dist/cli/help-text.js';
import { createProgram } from '../dist/cli/program.js';

const WIDTH = 100;
const MARK = '<!-- The rest is made by scripts/build-cli-docs.mjs -->\n';
const FILE = fileURLToPath(new URL('../docs/cli.md', import.meta.url));

const { commands } = await createProgram();
const sections = commands.map((command) => {
  let help = '';
  command.configureOutput({ writeOut: (text) => (help += text), getOutHelpWidth: () => WIDTH });
  command.outputHelp();
  return `\n## ${command.name()}\n\n\`\`\`\n${fitHelp(help, WIDTH).trim()}\n\`\`\`\n`;
});
const [introduction] = readFileSync(FILE, 'utf8').split(MARK);
writeFileSync(FILE, `${introduction}${MARK}${sections.join('')}`);
