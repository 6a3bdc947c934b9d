import type { Command } from 'commander';
import type { VmInfo } from '../../control/schema.ts';
import { bytes, duration, print, table } from '../output.ts';
import { type TargetOptions, connectTarget, targetCommand } from '../target.ts';

const EXAMPLES = `
Examples:
  reference-vmm inspect web
  reference-vmm inspect web --format json | jq .state`;

export function registerInspect(program: Command): void {
  targetCommand(program, 'inspect', 'tell what a VM is made of and how it is')
    .addHelpText('after', EXAMPLES)
    .action(async (name: string | undefined, options: TargetOptions) => {
      const info = await connectTarget(name, options).info();
      print(options, info, describeInfo(info));
    });
}

/** A line for each property. */
export function describeInfo(info: VmInfo): string {
  return table([
    ['name', info.name],
    ['state', info.state],
    ['pid', String(info.pid)],
    ['hypervisor', `${info.hypervisor}, ${info.arch} guest`],
    ['cpus', String(info.cpus)],
    ['memory', bytes(info.memory)],
    ['started', `${info.startTime} (${duration(info.uptime)})`],
    ['kernel', info.kernel ?? 'built-in guest'],
    ['command', info.command === null ? '-' : JSON.stringify(info.command)],
    ...info.devices.map(({ name, type, model }) => ['device', `${name}: ${model} (${type})`]),
  ]);
}
