import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import asc from 'assemblyscript/asc';

const root = fileURLToPath(new URL('..', import.meta.url));
const require = createRequire(import.meta.url);
const flags = new Set(process.argv.slice(2));

/** Compiles the TypeScript half; `--engine` leaves it out. */
function buildTypeScript() {
  const tsc = join(
    dirname(require.resolve('typescript7/package.json', { paths: [join(root, '../..')] })),
    'bin/tsc',
  );
  execFileSync(process.execPath, [tsc, '-p', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' });
}

/** Compiles assembly/index.ts into dist/wasm/engine.wasm; `--text` adds the text format beside it. */
async function buildEngine() {
  mkdirSync(join(root, 'dist/wasm'), { recursive: true });
  const output = 'dist/wasm/engine.wasm';
  const { error, stderr } = await asc.main(
    [
      'assembly/index.ts',
      '--outFile',
      output,
      ...(flags.has('--text') ? ['--textFile', 'dist/wasm/engine.wat'] : []),
      '--runtime',
      'stub',
      '--importMemory',
      '--sharedMemory',
      '--initialMemory',
      '1',
      '--maximumMemory',
      '65536',
      // Static data stays clear of address 0 and of everything in layout.ts.
      '--memoryBase',
      '4096',
      '--enable',
      'threads',
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
      // v128 parameters stay inside the module.
      '--disableWarning',
      '112',
      '-O3',
      '--converge',
    ],
    { baseDir: root },
  );
  const messages = stderr.toString();
  if (messages !== '') process.stderr.write(messages);
  if (error) throw error;
  console.log(`${output}: ${statSync(join(root, output)).size} bytes`);
}

/** Compiles the KVM addon, or says why this machine cannot. */
function buildNative() {
  const script = join(root, 'scripts/build-native.mjs');
  const child = spawn(process.execPath, [script, '--optional'], { stdio: 'inherit' });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => (code === 0 ? resolve() : reject(new Error('The KVM addon did not build'))));
  });
}

if (flags.has('--engine')) {
  await buildEngine();
} else {
  const native = buildNative();
  buildTypeScript();
  await Promise.all([native, buildEngine()]);
}
