// `reference-vmm list` with many VMs: real processes, directories, control sockets and status files, without the machines
// behind them; and what it takes when all have to be asked because their status files are gone.
// `node reference-vmm/bench/list.mjs [COUNT] [ROUNDS]`
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const [first = '50', second = '9'] = process.argv.slice(2);

if (first === 'serve') {
  const { RuntimeDirectory } = await import('../dist/runtime-directory.js');
  const { ConsoleHub } = await import('../dist/control/console-hub.js');
  const { ConsoleLog } = await import('../dist/control/log.js');
  const { ControlServer } = await import('../dist/control/server.js');
  const { StatusFile } = await import('../dist/status-file.js');
  const directory = RuntimeDirectory.claim(second);
  const vm = {
    name: second,
    state: 'running',
    hypervisor: 'wasm',
    arch: 'aarch64',
    config: { cpus: 1, memory: 256 * 1024 * 1024 },
    devices: [],
    stopped: new Promise(() => {}),
  };
  const hub = new ConsoleHub(new ConsoleLog(directory.path));
  await ControlServer.listen(vm, join(directory.path, 'control.sock'), hub);
  const { name, hypervisor, arch, config } = vm;
  new StatusFile(directory, () => ({
    name,
    hypervisor,
    arch,
    ...config,
    kernel: null,
    command: null,
    devices: [],
  })).update(vm.state);
  process.send('ready');
  process.on('disconnect', () => process.exit());
} else {
  await measure(Number(first), Number(second));
}

async function measure(count, rounds) {
  // Set on some machines, and worth 50 ms at every start of Node 20.
  delete process.env.NODE_EXTRA_CA_CERTS;
  const base = mkdtempSync(join(tmpdir(), 'vmm-list-'));
  process.env.XDG_RUNTIME_DIR = base;
  process.on('exit', () => rmSync(base, { recursive: true, force: true }));
  const children = [];
  for (let index = 0; index < count; index++) {
    const child = spawn(
      process.execPath,
      [fileURLToPath(import.meta.url), 'serve', `vm-${String(index).padStart(3, '0')}`],
      { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] },
    );
    children.push(child);
    // A few at a time: starting all at once says nothing of the list.
    if (index % 4 === 3) await Promise.all(children.slice(-4).map((each) => once(each, 'message')));
  }
  await Promise.all(children.slice(count - (count % 4)).map((each) => once(each, 'message')));

  // VMs that are older than their servers' first request to themselves.
  await new Promise((resolve) => setTimeout(resolve, 6000));

  const { list } = await import('@vmm/reference-vmm');
  const command = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
  const times = { node: [], command: [], library: [], asked: [] };
  const run = () => {
    const { stdout } = spawnSync(
      process.execPath,
      [command, 'list', '--timeout', '60s', '--format', 'json'],
      { encoding: 'utf8' },
    );
    expectAll(JSON.parse(stdout).vms, count);
  };
  for (let round = 0; round < rounds; round++) {
    times.node.push(await timed(() => spawnSync(process.execPath, ['-e', ''])));
    times.command.push(await timed(run));
    times.library.push(await timed(async () => expectAll(await list(), count)));
  }
  for (const name of readdirSync(join(base, 'reference-vmm')))
    rmSync(join(base, 'reference-vmm', name, 'status.json'), { force: true });
  for (let round = 0; round < rounds; round++) times.asked.push(await timed(run));
  console.log(`list: ${count} VMs, each a process of its own with a control socket; medians of ${rounds}`);
  report('reference-vmm list --format json, whole process (target: below 200 ms)', times.command);
  report('list() of the library', times.library);
  report('the command when the status files are gone, and all have to be asked', times.asked);
  report('node -e "", for comparison', times.node);
  for (const child of children) child.disconnect();
}

function expectAll(vms, count) {
  const running = vms.filter(({ state }) => state === 'running');
  if (running.length !== count) throw new Error(`${running.length} of ${count} VMs answered`);
}

async function timed(action) {
  const started = performance.now();
  await action();
  return performance.now() - started;
}

function report(what, list) {
  const sorted = [...list].sort((a, b) => a - b);
  const [median, best] = [sorted[Math.floor(sorted.length / 2)], sorted[0]];
  console.log(`${what.padEnd(76)} ${median.toFixed(0)} ms (best ${best.toFixed(0)})`);
}
