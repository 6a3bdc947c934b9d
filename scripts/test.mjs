// `npm test`: set-up, then every check that holds on main, then every test. Arguments go to jest.
import { bin, build, run, testTools, turbo } from './setup.mjs';

const started = Date.now();
const step = (name) => process.stderr.write(`== ${name} (${((Date.now() - started) / 1000).toFixed(0)} s)\n`);
const onlyTests = process.argv.length > 2;

step('system packages');
testTools();
step('install and build');
build();
if (!onlyTests) {
  step('types');
  turbo('typecheck');
  step('lint');
  bin('eslint', ['.', '--max-warnings', '0', '--cache', '--cache-location', 'node_modules/.cache/eslint/']);
  step('format');
  bin('prettier', ['--check', '.', '--log-level', 'warn', '--cache']);
  step('unused code');
  bin('knip', ['--no-config-hints']);
  step('changesets');
  bin('changeset', ['status']);
}
step('tests');
run(
  process.execPath,
  [
    '--disable-warning=ExperimentalWarning',
    '--experimental-vm-modules',
    'node_modules/jest/bin/jest.js',
    ...process.argv.slice(2),
  ],
  { stdio: ['ignore', 1, 2] },
);
