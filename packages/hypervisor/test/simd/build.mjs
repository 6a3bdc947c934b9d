// Compiles the test entry with a flat guest memory in place of assembly/mem.ts: node build.mjs <output.wasm> [--text]
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import asc from 'assemblyscript/asc';

const root = fileURLToPath(new URL('../..', import.meta.url));
const [, , output, ...flags] = process.argv;

const { error, stderr } = await asc.main(
  [
    'test/simd/assembly/entry.ts',
    '--outFile',
    resolve(output),
    ...(flags.includes('--text') ? ['--textFile', `${output}.wat`] : []),
    '--runtime',
    'stub',
    '--initialMemory',
    '400',
    '--memoryBase',
    '4096',
    '--enable',
    'simd',
    '--enable',
    'bulk-memory',
    '--enable',
    'sign-extension',
    '--enable',
    'nontrapping-f2i',
    '--noAssert',
    '--use',
    'abort=',
    '--disableWarning',
    '112',
    '-O3',
    '--converge',
  ],
  {
    readFile(name) {
      const file = name === 'assembly/mem.ts' ? 'test/simd/assembly/flat-mem.ts' : name;
      try {
        return readFileSync(file.startsWith('/') ? file : join(root, file), 'utf8');
      } catch {
        return null;
      }
    },
  },
);
process.stderr.write(stderr.toString());
if (error) throw error;
