// A guest on a tap interface of the VMM's own that goes on from a snapshot, in a network namespace of its own: run with
// `unshare -n`. Answers JSON.
import { execFileSync } from 'node:child_process';
import { VmBuilder, Vmm } from '@vmm/reference-vmm';

const [, , snapshot] = process.argv;
const HOST = '10.9.0.1';
const ip = (...args) => execFileSync('ip', args, { encoding: 'utf8' });

/** What the guest says of its neighbour and what that has, once a ping has come back. */
async function look(vm) {
  ip('addr', 'add', `${HOST}/24`, 'dev', 'vm0');
  const script = `ping -c 1 -W 60 ${HOST} | grep -o '1 packets received'; ip neigh show ${HOST}`;
  const { stdout } = await vm.exec(['sh', '-c', script]).output();
  return { stdout, address: /link\/ether (\S+)/.exec(ip('link', 'show', 'vm0'))[1] };
}

const vm = await new VmBuilder()
  .hypervisor('wasm')
  .name(`neighbour-${process.pid}`)
  .networkDevice({ kind: 'tap', interface: 'vm0', ip: '10.9.0.2/24' })
  .command('sleep', '100000')
  .build();
vm.start();
const first = await look(vm);
await vm.snapshot(snapshot);
await vm[Symbol.asyncDispose]();
const copy = await Vmm.restore(snapshot);
const second = await look(copy);
await copy[Symbol.asyncDispose]();
process.stdout.write(JSON.stringify({ first, second }), () => process.exit());
