import { jest } from '@jest/globals';
import { execFile } from 'node:child_process';
import { readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import ts from 'typescript';
import { BOOT_TIMEOUT, ROOT } from './support.ts';

jest.setTimeout(BOOT_TIMEOUT);

const readmes: [string, string][] = [
  ['README.md', 'integration-tests'],
  ['reference-vmm/README.md', 'reference-vmm'],
  ...readdirSync(join(ROOT, 'packages')).map((name): [string, string] => [
    `packages/${name}/README.md`,
    `packages/${name}`,
  ]),
];

/** The first TypeScript block of a page, as JavaScript that this Node understands. */
function firstExample(page: string): string {
  const block = /^```ts\n([\s\S]*?)^```$/m.exec(page);
  if (block === null) throw new Error('the page has no TypeScript example');
  return ts.transpileModule(block[1]!, {
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023 },
  }).outputText;
}

describe('the first example of every README runs', () => {
  it.each(readmes)('%s', async (readme, folder) => {
    const file = join(ROOT, folder, `.readme-example-${process.pid}.mjs`);
    writeFileSync(file, firstExample(readFileSync(join(ROOT, readme), 'utf8')));
    try {
      await promisify(execFile)(process.execPath, [file], { cwd: join(ROOT, folder) });
    } finally {
      rmSync(file);
    }
  });
});
