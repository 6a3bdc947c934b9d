import { accessSync, constants, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { ProbeResult } from '@vmm/hypervisor';
import type { KvmDiagnosis } from '@vmm/hypervisor/kvm';
import type { Command } from 'commander';
import { messageOf } from '../../errors.ts';
import { findTool } from '../../guest/apt.ts';
import { type CachedGuest, cachedGuests } from '../../guest/guest.ts';
import { stockGuests } from '../../hypervisors.ts';
import { kernelArchitecture } from '../../kernel-architecture.ts';
import type { Architecture } from '../../machine/machine.ts';
import { type FormatOption, formatOption, print } from '../output.ts';

/** Programs that fetch the built-in guest; without them `--kernel` and `--initrd` are to be given. */
const TOOLS = ['apt-get', 'apt-cache', 'dpkg-deb', 'xz'] as const;

const EXAMPLES = `
Examples:
  reference-vmm doctor
  reference-vmm doctor --format json | jq .auto

Exit code: 0 when some hypervisor works, else 1.`;

/** What the devices need of this machine: present, or why not and what to do. */
export interface DeviceFinding {
  readonly what: string;
  readonly ok: boolean;
  readonly detail: string;
  readonly remedy?: string;
}

/** A kernel that this user can read. */
export interface FoundKernel {
  readonly path: string;
  readonly arch: Architecture;
}

/** Where the doctor looks. */
export interface Patient {
  readonly nodeVersion: string;
  readonly diagnoseKvm: () => Promise<KvmDiagnosis>;
  readonly probeWasm: () => Promise<ProbeResult>;
  readonly findTool: (name: string) => string | undefined;
  readonly devices: () => Promise<readonly DeviceFinding[]>;
  readonly guests: () => readonly CachedGuest[];
  readonly kernels: () => readonly FoundKernel[];
}

/** What was found: plain data, as `--format json` prints it. */
export interface Report {
  /** Some hypervisor works. */
  readonly ok: boolean;
  readonly node: { readonly version: string; readonly supported: boolean };
  readonly kvm: KvmDiagnosis & { readonly stockGuests: boolean };
  readonly wasm: ProbeResult;
  /** What `--hypervisor auto` takes for a guest of any architecture; null when nothing works. */
  readonly auto: { readonly hypervisor: 'kvm' | 'wasm'; readonly arch: Architecture } | null;
  readonly devices: readonly DeviceFinding[];
  readonly tools: Readonly<Record<string, string | null>>;
  readonly guests: readonly CachedGuest[];
  readonly kernels: readonly FoundKernel[];
}

/** Looks at everything; never throws for what it finds. */
export async function examine(patient: Patient): Promise<Report> {
  const [kvm, wasm, devices] = await Promise.all([
    patient.diagnoseKvm(),
    patient.probeWasm(),
    patient.devices(),
  ]);
  const stock = stockGuests(kvm).available;
  return {
    ok: kvm.available || wasm.available,
    node: { version: patient.nodeVersion, supported: supportedNode(patient.nodeVersion) },
    kvm: { ...kvm, stockGuests: stock },
    wasm,
    auto:
      stock && kvm.arch !== undefined
        ? { hypervisor: 'kvm', arch: kvm.arch }
        : wasm.available
          ? { hypervisor: 'wasm', arch: 'aarch64' }
          : null,
    devices,
    tools: Object.fromEntries(TOOLS.map((name) => [name, patient.findTool(name) ?? null])),
    guests: patient.guests(),
    kernels: patient.kernels(),
  };
}

/** The `engines` of this package: 20.19 and later of 20, and from 22.12 on. */
function supportedNode(version: string): boolean {
  const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number);
  return (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major > 22;
}

/** The report for people: what is well, what is not, and what to do about that. */
export function describe(report: Report): string {
  const lines: string[] = [];
  const good = (what: string, detail: string): void => void lines.push(`  ok  ${what}: ${detail}`);
  const bad = (what: string, detail: string, remedy: string): void => {
    lines.push(`  --  ${what}: ${detail}`, `      ${remedy}`);
  };
  const { node, kvm, wasm } = report;

  lines.push('Node');
  if (node.supported) good('version', node.version);
  else bad('version', node.version, 'Install Node 20.19 or later, or 22.12 or later');

  lines.push(`KVM (${kvm.device}${kvm.arch === undefined ? '' : `, ${kvm.arch} guests`})`);
  for (const finding of kvm.findings) {
    if (finding.ok) good(finding.check, finding.detail);
    else bad(finding.check, finding.detail, finding.remedy);
  }
  const capabilities = Object.entries(kvm.capabilities).map(([name, value]) => `${name}=${value}`);
  if (capabilities.length > 0) lines.push(`      ${capabilities.join(' ')}`);

  lines.push('Software hypervisor (aarch64 guests)');
  if (wasm.available)
    good(
      'engine',
      Object.entries(wasm.details)
        .map((entry) => entry.join(' '))
        .join(', '),
    );
  else bad('engine', wasm.reason, wasm.remedy);

  lines.push('Devices');
  for (const { what, ok, detail, remedy = '' } of report.devices) {
    if (ok) good(what, detail);
    else bad(what, detail, remedy);
  }

  lines.push('Built-in guest');
  for (const [name, path] of Object.entries(report.tools)) {
    if (path !== null) good(name, path);
    else bad(name, 'not found', `Install it, or give --kernel and --initrd`);
  }
  for (const { arch, kernelVersion, directory } of report.guests)
    good(`${arch} in the cache`, `${kernelVersion}, ${directory}`);
  if (report.guests.length === 0) lines.push('      none in the cache: the first run fetches it');
  for (const { path, arch } of report.kernels) good(`${arch} kernel of this machine`, path);

  lines.push(
    report.auto === null
      ? 'No hypervisor works here.'
      : `--hypervisor auto takes ${report.auto.hypervisor === 'kvm' ? 'KVM' : 'the software hypervisor'}, for ${report.auto.arch} guests.`,
  );
  return `${lines.join('\n')}\n`;
}

function patient(): Patient {
  return {
    nodeVersion: process.version,
    diagnoseKvm: async () => (await import('@vmm/hypervisor/kvm')).diagnoseKvm(),
    probeWasm: async () => (await import('@vmm/hypervisor/wasm')).createWasmHypervisor().probe(),
    findTool,
    devices: examineDevices,
    guests: cachedGuests,
    kernels: () => kernelsIn('/boot'),
  };
}

async function examineDevices(): Promise<DeviceFinding[]> {
  const { requireHost } = await import('@vmm/virtio-devices/node');
  const addon = attempt(
    () => {
      requireHost('--share and --net tap');
      return { ok: true, detail: 'loaded: fast disks, taps, shared directories' };
    },
    (error) => ({ ok: false, detail: String(error), remedy: 'Disks and --net user work without it' }),
  );
  const tap = attempt(
    () => {
      accessSync('/dev/net/tun', constants.R_OK | constants.W_OK);
      return {
        ok: true,
        detail: '/dev/net/tun; making interfaces needs CAP_NET_ADMIN, using those of yours does not',
      };
    },
    (error) => ({
      ok: false,
      detail: messageOf(error),
      remedy:
        'For --net tap: modprobe tun, and make /dev/net/tun readable and writable; --net user needs neither',
    }),
  );
  const passt = findTool('passt');
  return [
    { what: 'addon', ...addon },
    { what: 'tap', ...tap },
    passt === undefined
      ? {
          what: 'passt',
          ok: false,
          detail: 'not found',
          remedy: "For --net user: install Debian's package passt",
        }
      : { what: 'passt', ok: true, detail: passt },
  ];
}

/** Kernels in a directory; those that cannot be read or are of another kind are left out. */
function kernelsIn(directory: string): FoundKernel[] {
  return attempt(
    () => readdirSync(directory),
    () => [],
  )
    .filter((name) => name.startsWith('vmlinu'))
    .flatMap((name) => {
      const path = join(directory, name);
      const arch = attempt(
        () => kernelArchitecture(path),
        () => undefined,
      );
      return arch === undefined ? [] : [{ path, arch }];
    });
}

function attempt<T>(action: () => T, otherwise: (error: unknown) => T): T {
  try {
    return action();
  } catch (error) {
    return otherwise(error);
  }
}

export function registerDoctor(program: Command): void {
  program
    .command('doctor')
    .description('find out which hypervisors work here, and what to do about those that do not')
    .addOption(formatOption())
    .addHelpText('after', EXAMPLES)
    .action(async (options: FormatOption) => {
      const report = await examine(patient());
      print(options, report, describe(report));
      process.exitCode = report.ok ? 0 : 1;
    });
}
