// What can be known of VMs that do not end, as text on standard output: their counters, what their kernels said, and where
// their vCPUs are. A part that gets no answer either is left out.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const CLI = fileURLToPath(new URL('../../../reference-vmm/dist/cli/main.js', import.meta.url));
const PATIENCE = 15_000;
const CORE_REGISTERS = ['pc', 'pstate', 'x30', 'sp_el1', 'rip', 'rsp', 'rflags'];

function ask(...args) {
  const { stdout, stderr } = spawnSync(process.execPath, [CLI, ...args], {
    encoding: 'utf8',
    timeout: PATIENCE,
  });
  return stdout + stderr;
}

function places(name) {
  const directory = join(mkdtempSync(join(tmpdir(), 'last-words-')), 'snapshot');
  const said = ask('snapshot', name, directory);
  try {
    const { snapshot } = JSON.parse(readFileSync(join(directory, 'snapshot.json'), 'utf8'));
    return snapshot.machine.vcpus.map(({ registers }) =>
      CORE_REGISTERS.filter((each) => registers?.[each] !== undefined)
        .map((each) => `${each} 0x${BigInt(registers[each].$integer ?? registers[each]).toString(16)}`)
        .join(', '),
    );
  } catch (error) {
    return [`${said}${String(error)}`];
  }
}

for (const { name } of JSON.parse(ask('list', '--format', 'json')).vms) {
  console.log(`== ${name}`);
  console.log(ask('stats', name));
  console.log(ask('logs', name).split('\n').slice(-40).join('\n'));
  console.log(places(name).join('\n'));
}
