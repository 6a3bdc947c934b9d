// Compiles the test entry with a flat guest memory in place of assembly/mem.ts: node build.mjs <output.wasm> [--text]
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import asc from 'assemblyscript/asc';

const root = fileURLToPath(new URL('../..', import.meta.url));
const [, , output, ...flags] = process.argv;

const { error, stderr } = await asc.main(
  [
    'test/simd/entry.ts', '--outFile', output, ...(flags.includes('--text') ? ['--textFile', `${output}.wat`] : []),
    '--runtime', 'stub', '--initialMemory', '400', '--memoryBase', '4096',
    '--enable', 'simd', '--enable', 'bulk-memory', '--enable', 'sign-extension', '--enable', 'nontrapping-f2i',
    '--noAssert', '--use', 'abort=', '--disableWarning', '112', '-O3', '--converge',
  ],
  {
    baseDir: root,
    readFile(name, baseDir) {
      const file = name === 'assembly/mem.ts' ? 'test/simd/flat-mem.ts' : name;
      try {
        return readFileSync(file.startsWith('/') ? file : join(baseDir, file), 'utf8');
      } catch {
        return null;
      }
    },
  },
);
process.stderr.write(stderr.toString());
if (error) throw error;
