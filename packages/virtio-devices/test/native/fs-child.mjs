// A process that has no descriptor left: node fs-child.mjs ADDON FOLDER.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const EMFILE = 24;
const script = fileURLToPath(import.meta.url);

/** Runs it; `status` is 0 unless a promise is broken. */
export function runFullChild(addon, folder) {
  const limited = ['-c', 'ulimit -n 64 && exec "$0" "$@"', process.execPath, script, addon, folder];
  return spawnSync('sh', limited, { encoding: 'utf8', killSignal: 'SIGKILL', timeout: 120_000 });
}

/** Makes entries, which takes no descriptor, for which there is none to open them then. */
function makeWithoutDescriptors(fs, folder) {
  const stat = new Uint32Array(30);
  const root = fs.openRoot(folder);
  const openat2 = fs.hasOpenat2(root);
  const owner = [process.geteuid(), process.getegid()];
  const make = (name, mode, target) => fs.make(root, name, target, mode, ...owner, 0, 0, openat2, stat);
  const create = (name) => fs.create(root, name, 2, 0o644, ...owner, stat);
  const fds = [];
  for (let fd = fs.openRoot('/'); fd !== -EMFILE; fd = fs.openRoot('/')) fds.push(fd);
  const errors = [
    make('directory', 0o40755, ''),
    make('file', 0o100644, ''),
    make('fifo', 0o10644, ''),
    make('link', 0o120777, 'target'),
    create('opened'),
  ];
  // One is enough for the file, and not for its handle.
  fs.close(fds.pop());
  errors.push(create('half'));
  closeSync(openSync('/dev/null'));
  for (const fd of fds) fs.close(fd);
  assert.deepEqual(new Set(errors), new Set([-EMFILE]));
  assert.deepEqual(readdirSync(folder), []);
}

if (process.argv[1] === script) {
  const [addon, folder] = process.argv.slice(2);
  makeWithoutDescriptors(createRequire(script)(addon).fs, folder);
}
