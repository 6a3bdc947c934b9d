// A VM that is paused while it works. Runs inside of a machine with KVM too, and prints what came of it:
//
//   node pause.ts kvm|wasm mmio|pci
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { type StopReason, VmBuilder, type Vmm } from '@vmm/reference-vmm';
import { MemoryBlockBackend } from '@vmm/virtio-devices';

/** What came of it. */
export interface PauseReport {
  /** The guest's uptime in seconds when it was last told before the pause, and first after it. */
  readonly before: number;
  readonly after: number;
  /** Seconds of the pause, on the host's clock. */
  readonly paused: number;
  /** Seconds by which the guest's uptime is ahead of the host's clock without the pause, compared with before it. */
  readonly ahead: number;
  /** Bytes of output that came during the pause, once what was on its way had arrived. */
  readonly during: number;
  readonly states: readonly string[];
  /** Codes of what was refused: resume while running; pause, start while paused. */
  readonly refused: readonly unknown[];
  /** What a disk's writer found when it read everything back. */
  readonly verified: string;
  readonly end: StopReason;
}

/** Tells the uptime again and again, while a disk is written and read back; ends when it is told to. */
const GUEST = `
while :; do read uptime _ </proc/uptime; echo "up $uptime"; usleep 20000; done &
dd if=/dev/urandom of=/tmp/data bs=1M count=1 2>/dev/null
for i in 1 2 3 4; do
  dd if=/tmp/data of=/dev/vda bs=64k conv=fsync 2>/dev/null
  cmp -n 1048576 /tmp/data /dev/vda && echo "same $i"
done
read line
echo "told $line"
kill $!
`;

const PAUSE = 2000;

export async function pauseScenario(
  hypervisor: 'kvm' | 'wasm',
  transport: 'mmio' | 'pci',
): Promise<PauseReport> {
  const vm = await new VmBuilder()
    .hypervisor(hypervisor)
    .transport(transport)
    .cpus(2)
    .blockDevice(new MemoryBlockBackend(new Uint8Array(8 << 20)))
    .command('sh', '-c', GUEST)
    .build();
  try {
    return await pauseAndResume(vm);
  } finally {
    await vm[Symbol.asyncDispose]();
  }
}

async function pauseAndResume(vm: Vmm): Promise<PauseReport> {
  let output = '';
  const begun = performance.now();
  const seconds = (): number => (performance.now() - begun) / 1000;
  /** Least time by which a line was behind the host's clock: how it reads, and what a line's way takes. */
  let behind = Infinity;
  vm.streams!.stdout.on('data', (bytes: Uint8Array) => {
    const text = Buffer.from(bytes).toString('latin1');
    output += text;
    for (const [, uptime] of text.matchAll(/up (\S+)\n/g))
      behind = Math.min(behind, seconds() - Number(uptime));
  });
  const seen = async (pattern: RegExp): Promise<string> => {
    for (;;) {
      const found = pattern.exec(output)?.[1];
      if (found !== undefined) return found;
      if (vm.state !== 'starting' && vm.state !== 'running')
        throw new Error(`the VM is ${vm.state}:\n${output}`);
      await delay(5);
    }
  };
  const code = async (operation: () => Promise<void> | void): Promise<unknown> => {
    try {
      await operation();
      return 'done';
    } catch (error) {
      return error instanceof Error && 'code' in error ? error.code : error;
    }
  };
  vm.start();
  await seen(/up (\S+)\n/);
  const states: string[] = [vm.state];
  const refused = [await code(() => vm.resume())];
  await vm.pause();
  const start = performance.now();
  states.push(vm.state);
  refused.push(await code(() => vm.pause()), await code(() => vm.start()));
  await delay(PAUSE / 2);
  const arrived = output.length;
  await delay(PAUSE / 2);
  const during = output.length - arrived;
  const before = Number(
    output
      .match(/up (\S+)\n/g)!
      .at(-1)!
      .slice(3),
  );
  const paused = (performance.now() - start) / 1000;
  const expected = behind + paused;
  // Each waits for the one before it.
  await Promise.all([vm.resume(), vm.pause(), vm.resume()]);
  states.push(vm.state);
  const rest = output.length;
  while (!/up \S+\n/.test(output.slice(rest))) await delay(5);
  const after = Number(/up (\S+)\n/.exec(output.slice(rest))![1]);
  const ahead = after - (seconds() - expected);
  for (let i = 0; i < 3; i++) {
    await vm.pause();
    await delay(100);
    await vm.resume();
  }
  await seen(/(same 4)/);
  vm.streams!.stdin.end('end\n');
  const end = await vm.stopped;
  const verified = (output.match(/same \d|told .*/g) ?? []).join(', ');
  return {
    before,
    after,
    paused,
    ahead,
    during,
    states,
    refused,
    verified,
    end,
  };
}

const [script, hypervisor, transport] = process.argv.slice(1);
if (script !== undefined && import.meta.url === pathToFileURL(script).href) {
  if (hypervisor !== 'kvm' && hypervisor !== 'wasm') throw new TypeError('kvm or wasm');
  if (transport !== 'mmio' && transport !== 'pci') throw new TypeError('mmio or pci');
  process.stdout.write(`${JSON.stringify(await pauseScenario(hypervisor, transport))}\n`);
}
