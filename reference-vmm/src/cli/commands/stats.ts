import type { Command } from 'commander';
import type { VmStats } from '../../control/schema.ts';
import { bytes, duration, print, table } from '../output.ts';
import { type TargetOptions, connectTarget, targetCommand } from '../target.ts';

const EXAMPLES = `
Examples:
  reference-vmm stats web
  reference-vmm stats web --format json | jq .exits.byReason`;

export function registerStats(program: Command): void {
  targetCommand(program, 'stats', "tell a VM's counters since its start")
    .addHelpText('after', EXAMPLES)
    .action(async (name: string | undefined, options: TargetOptions) => {
      const stats = await connectTarget(name, options).stats();
      print(options, stats, describeStats(stats));
    });
}

/** A line for each group of counters; those that are 0 are left out. */
export function describeStats(stats: VmStats): string {
  return table([
    ['name', stats.name],
    ['state', stats.state],
    ['uptime', duration(stats.uptime)],
    ['processor', `${stats.process.cpuSeconds.toFixed(1)} s`],
    ['resident', bytes(stats.process.residentBytes)],
    ...(stats.instructions > 0 ? [['instructions', String(stats.instructions)]] : []),
    ['exits', join({ total: stats.exits.total, ...stats.exits.byReason })],
    ['console', `${stats.console.bytes} bytes, ${stats.console.viewers} viewers`],
    ...stats.devices.map(({ name, transport, counters }) => [name, join({ ...transport, ...counters })]),
  ]);
}

function join(counters: Readonly<Record<string, number>>): string {
  const shown = Object.entries(counters).filter(([, value]) => value !== 0);
  return shown.length === 0 ? '-' : shown.map(([name, value]) => `${name} ${value}`).join(', ');
}
