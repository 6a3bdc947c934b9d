/** Columns of a terminal that does not say how many it has, and of what is none. */
export const HELP_WIDTH = 80;

/**
 * Brings what stands behind the options of a help text (paragraphs, and examples that are indented by two blanks) to a width.
 * Paragraphs are filled; of an example that is too long the remark goes onto a line of its own, and the command is continued
 * as a shell has it.
 *
 * @param width columns
 */
export function fitHelp(text: string, width: number): string {
  const lines: string[] = [];
  let paragraph: string[] = [];
  const flush = (): void => {
    if (paragraph.some((line) => line.length > width)) lines.push(...wrap(paragraph.join(' '), width, ''));
    else lines.push(...paragraph);
    paragraph = [];
  };
  for (const line of text.split('\n')) {
    if (/^\S/.test(line)) {
      paragraph.push(line);
      continue;
    }
    flush();
    lines.push(...fitLine(line, width));
  }
  flush();
  return lines.join('\n');
}

const REMARK_INDENT = ' '.repeat(6);

function fitLine(line: string, width: number): string[] {
  if (line.length <= width) return [line];
  const [, example, remark] = /^( {2}\S.*?) {3,}(\S.*)$/.exec(line) ?? [];
  if (example !== undefined && remark !== undefined)
    return [...fitLine(example, width), ...wrap(remark, width, REMARK_INDENT)];
  if (!/^ {2}\S/.test(line)) return wrap(line.trim(), width, /^ */.exec(line)![0]);
  const parts = wrap(line.trim(), width - 2, '  ');
  return parts.map((part, index) => {
    const indented = index === 0 ? part : `  ${part}`;
    return index === parts.length - 1 ? indented : `${indented} \\`;
  });
}

function wrap(text: string, width: number, indent: string): string[] {
  const lines: string[] = [];
  let line = indent;
  for (const word of text.split(/ +/)) {
    const longer = line === indent ? `${line}${word}` : `${line} ${word}`;
    if (longer.length > width && line !== indent) {
      lines.push(line);
      line = `${indent}${word}`;
    } else {
      line = longer;
    }
  }
  return [...lines, line];
}
