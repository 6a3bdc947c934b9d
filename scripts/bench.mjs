// `npm run bench [name…]`: every benchmark of the repository, or those whose path contains a name.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, build, run } from './setup.mjs';

build();
const folders = [
  ...readdirSync(join(ROOT, 'packages')).map((name) => `packages/${name}/bench`),
  'reference-vmm/bench',
];
const files = folders
  .filter((folder) => existsSync(join(ROOT, folder)))
  .flatMap((folder) => readdirSync(join(ROOT, folder)).map((name) => `${folder}/${name}`))
  .filter((file) => file.endsWith('.mjs') && !file.endsWith('/support.mjs'));
const names = process.argv.slice(2);
for (const file of files.filter((path) => names.length === 0 || names.some((name) => path.includes(name)))) {
  process.stdout.write(`\n== ${file}\n`);
  run(process.execPath, [join(ROOT, file)], { stdio: ['ignore', 1, 2] });
}
