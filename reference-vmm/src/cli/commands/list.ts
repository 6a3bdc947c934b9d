import type { Command } from 'commander';
import { type SilentVm, list } from '../../control/list.ts';
import type { VmSummary } from '../../status-file.ts';
import { parseDuration } from '../../units.ts';
import { type FormatOption, bytes, duration, formatOption, print, styled, table } from '../output.ts';

const EXAMPLES = `
Examples:
  reference-vmm list
  reference-vmm list --format json | jq -r '.vms[].name'`;

interface ListOptions extends FormatOption {
  readonly timeout: string;
}

export function registerList(program: Command): void {
  program
    .command('list')
    .alias('ls')
    .description("list this user's VMs, and remove what killed ones left behind")
    .option('--timeout <duration>', 'time that each VM has for its answer', '1s')
    .addOption(formatOption())
    .addHelpText('after', EXAMPLES)
    .action(async (options: ListOptions) => {
      const vms = await list({ timeout: parseDuration(options.timeout) });
      print(options, { vms }, describeList(vms));
    });
}

/** A line for each VM below a line of titles. */
export function describeList(vms: readonly (VmSummary | SilentVm)[]): string {
  const [titles = '', ...lines] = table([
    ['NAME', 'STATE', 'PID', 'HYPERVISOR', 'ARCH', 'CPUS', 'MEMORY', 'UPTIME'],
    ...vms.map((vm) =>
      vm.state === 'unreachable'
        ? [vm.name, vm.state, String(vm.pid), '-', '-', '-', '-', '-']
        : [
            vm.name,
            vm.state,
            String(vm.pid),
            vm.hypervisor,
            vm.arch,
            String(vm.cpus),
            bytes(vm.memory),
            duration(vm.uptime),
          ],
    ),
  ]).split(/(?<=\n)/);
  const marked = lines.map((line, index) => {
    const state = vms[index]?.state;
    return state === 'running' ? line : styled(isOver(state) ? 'red' : 'yellow', line);
  });
  return [styled('bold', titles), ...marked].join('');
}

function isOver(state: string | undefined): boolean {
  return state === 'failed' || state === 'stopped' || state === 'unreachable';
}
