// `npm start`: everything from a fresh clone to a shell in a VM. Arguments go to the reference-vmm command.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT, build } from './setup.mjs';

build();
const main = join(ROOT, 'reference-vmm/dist/cli/main.js');
const args = process.argv.slice(2);
process.argv = [process.argv[0], main, ...(args.length === 0 ? ['run'] : args)];
await import(pathToFileURL(main).href);
