// A VM that is reset and then asked to power off. Runs inside of a machine with KVM too, and prints what came of it:
//
//   node control.ts kvm|wasm mmio|pci
import { pathToFileURL } from 'node:url';
import { type StopReason, VmBuilder, type VmmEvent } from '@vmm/reference-vmm';

/** What came of it. */
export interface ControlReport {
  /** What the guest said, once for each boot. */
  readonly lines: readonly string[];
  readonly events: readonly string[];
  readonly end: StopReason;
}

const GUEST = `
trap 'echo asked; exit 7' TERM
echo "up with $(nproc), $([ -e /tmp/mark ] && echo marked || echo fresh)"
touch /tmp/mark
while :; do sleep 1; done
`;

export async function controlScenario(
  hypervisor: 'kvm' | 'wasm',
  transport: 'mmio' | 'pci',
): Promise<ControlReport> {
  const vm = await new VmBuilder()
    .hypervisor(hypervisor)
    .transport(transport)
    .cpus(2)
    .command('sh', '-c', GUEST)
    .build();
  try {
    const events: VmmEvent[] = [];
    const told = (async () => {
      for await (const event of vm.events()) events.push(event);
    })();
    const lines: string[] = [];
    let output = '';
    let heard: () => void = () => undefined;
    vm.streams!.stdout.on('data', (chunk: Buffer) => {
      const parts = (output + chunk.toString()).split('\n');
      output = parts.pop()!;
      lines.push(...parts);
      heard();
    });
    let said = '';
    vm.console.on('data', (chunk: Buffer) => (said += chunk.toString('latin1')));
    const ended = vm.stopped.then((reason) => {
      throw new Error(`the guest ended early: ${JSON.stringify(reason)}, after "${lines.join()}":\n${said}`);
    });
    ended.catch(() => undefined);
    const boots = async (count: number): Promise<void> => {
      while (lines.length < count)
        await Promise.race([ended, new Promise<void>((resolve) => (heard = resolve))]);
    };
    vm.start();
    await boots(1);
    await vm.reset();
    await boots(2);
    const end = await vm.shutdown({ grace: Infinity });
    await told;
    return { lines, events: events.map((each) => (each.kind === 'state' ? each.state : each.kind)), end };
  } finally {
    await vm[Symbol.asyncDispose]();
  }
}

const [, script, hypervisor, transport] = process.argv;
if (script !== undefined && import.meta.url === pathToFileURL(script).href) {
  if (hypervisor !== 'kvm' && hypervisor !== 'wasm') throw new Error('kvm or wasm');
  if (transport !== 'mmio' && transport !== 'pci') throw new Error('mmio or pci');
  process.stdout.write(`${JSON.stringify(await controlScenario(hypervisor, transport))}\n`);
}
