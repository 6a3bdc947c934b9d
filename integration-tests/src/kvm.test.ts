import { jest } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { buildCpio } from '@vmm/reference-vmm';
import { debianTree } from './guest-program.ts';
import { type CommandResult, KvmPlace, stockKernels } from './kvm-support.ts';
import { LSPCI, PCI_SCRIPT, expectListing, expectPciResult } from './pci-guest.ts';
import { type FirstReport, type SecondReport, expectToGoOn } from './snapshot-reports.ts';
import { guest, initrdWith, sha256 } from './support.ts';

// One machine runs all tests of an architecture: what is slow is the machine.
jest.setTimeout(900_000);

const MIB = 1024 * 1024;

/** An init that tells how many CPUs there are, reads a line from the serial port, and then does as the kernel is told. */
const INIT = [
  'echo "cpus=$(nproc)"',
  'read -r line',
  'echo "heard <$line>"',
  'case "$(cat /proc/cmdline)" in *end=panic*) exit 3 ;; *end=reboot*) reboot -f ;; *) poweroff -f ;; esac',
].join('\n');

/** Wrong or missing tables make the kernel complain; so do broken devices. */
const COMPLAINTS = 'dmesg | grep -iE "acpi.*(error|warning|exception)|firmware bug|unhandled" >&2';

function total(result: CommandResult): number {
  return Number(/^MemTotal: +(\d+) kB/m.exec(result.stdout.toString())?.[1]) / 1024;
}

/** Kernel image, page tables and the struct pages (1/64) are not in MemTotal. */
function expectMemory(result: CommandResult, mebibytes: number): void {
  expect([result.code, result.stderr]).toEqual([0, '']);
  expect(total(result)).toBeLessThanOrEqual(mebibytes);
  expect(total(result)).toBeGreaterThan(mebibytes * (1 - 1 / 32) - 64);
}

/** What has to hold on any KVM. */
function testsOf(place: KvmPlace, console: string): void {
  const run = (options: readonly string[], script: string, stdin?: Uint8Array): Promise<CommandResult> =>
    place.vmm(['run', '--hypervisor', 'kvm', ...options, '--', 'sh', '-c', script], stdin);
  const boot = (options: readonly string[], cmdline: string): Promise<CommandResult> =>
    place.vmm(
      [
        ...['run', '--hypervisor', 'kvm', '--initrd', place.path('init.cpio'), ...options],
        ...['-p', `console=${console} quiet panic=-1 cryptomgr.notests ${cmdline}`],
      ],
      'typed in\n',
    );
  const source = randomBytes(4 * MIB);

  beforeAll(async () => {
    place.put('kernel', readFileSync((await guest(place.arch)).kernel));
    place.put('init.cpio', await initrdWith(INIT, place.arch));
    place.put('source.img', source);
    place.put('target.img', new Uint8Array(source.length));
    place.put('disk.img', new Uint8Array(8 * MIB));
    await place.open();
  });
  afterAll(() => place[Symbol.asyncDispose]());

  it('doctor finds it', async () => {
    const result = await place.vmm(['doctor', '--format', 'json']);
    expect(JSON.parse(result.stdout.toString())).toMatchObject({
      ok: true,
      kvm: { available: true, stockGuests: true, arch: place.arch },
      auto: { hypervisor: 'kvm', arch: place.arch },
    });
    expect(result.code).toBe(0);
  });

  it('auto takes KVM, says so, and passes every byte of standard streams and disks, and the exit code', async () => {
    const input = randomBytes(300_001);
    const target = await place.copy('target.img');
    const script = [
      COMPLAINTS,
      'uname -m',
      'sha256sum',
      'sha256sum </dev/vda',
      'dd if=/dev/vda of=/dev/vdb bs=64k conv=fsync 2>/dev/null',
      'sha256sum </dev/vdb',
      'exit 7',
    ];
    const [result, copied] = await place.inOne(async () => [
      await place.vmm(
        ['run', '-d', `${place.path('source.img')},ro`, '-d', target, '--', 'sh', '-c', script.join('; ')],
        input,
      ),
      await place.read(target),
    ]);
    // The kernel has no complaints.
    expect(result.stderr).toBe('reference-vmm: hypervisor: KVM\n');
    const sums = [input, source, source].map((bytes) => `${sha256(bytes)}  -\n`);
    expect(result.stdout.toString()).toBe(`${place.arch}\n${sums.join('')}`);
    expect(result.code).toBe(7);
    expect(sha256(copied)).toBe(sha256(source));
  });

  it.each([
    // Debian's x86-64 kernel begins at 16 MiB and takes 52 MiB (pref_address, init_size); what the guest begins with is the rest.
    place.arch === 'x86_64' ? ['74M', 74, 1] : ['64M', 64, 1],
    ['1536M', 1536, 2],
    ['5G', 5120, 4],
  ])(
    'has the memory it was given, around the devices: %s (%i MiB), and so many vCPUs, which all run: %i',
    async (size, mebibytes, cpus) => {
      const each = 'taskset -c $c sh -c "echo on $c"';
      const count = `c=0; while [ $c -lt $(nproc) ]; do ${each}; c=$((c+1)); done`;
      const result = await run(['-m', size, '-c', `${cpus}`], `cat /proc/meminfo; ${count}`);
      expectMemory(result, mebibytes);
      const numbers = Array.from({ length: cpus }, (_, index) => `on ${index}`);
      expect(result.stdout.toString().match(/^on \d+$/gm)).toEqual(numbers);
    },
  );

  it.each(
    place.arch === 'x86_64'
      ? ([
          ['mmio', 1],
          ['pci', 2],
        ] as const)
      : ([['pci', 2]] as const),
  )(
    'has guests that go on from a snapshot in another process, and run commands: %s, %i vCPUs',
    async (transport, cpus) => {
      const disk = await place.copy('disk.img');
      const snapshot = `${disk}-${transport}`;
      const live = async (...args: readonly string[]): Promise<unknown> =>
        JSON.parse((await place.script('integration-tests/src/rig/snapshot.mjs', args)).stdout.toString());
      const [first, second] = await place.inOne(async () => [
        await live('first', snapshot, disk, 'kvm', transport, String(cpus)),
        await live('second', snapshot, `kvm-${process.pid}`),
      ]);
      expectToGoOn(first as FirstReport, second as SecondReport);
    },
  );

  it.each([
    [true, ''],
    [false, 'pci=nomsi'],
  ])('has devices on a PCI bus; messages for interrupts: %s', async (messages, parameters) => {
    const cmdline = `console=${console} quiet panic=-1 cryptomgr.notests ${parameters}`;
    const options = ['--transport', 'pci', '-c', '2', '-p', cmdline, '-d', `${place.path('source.img')},ro`];
    expectPciResult(await run(options, PCI_SCRIPT), source, { messages });
  });

  it('ends at --timeout, also while the guest spins', async () => {
    const result = await place.vmm([
      ...['run', '--hypervisor', 'kvm', '-c', '2', '--timeout', '20s', '--'],
      'sh',
      '-c',
      'while :; do :; done',
    ]);
    expect(result.code).toBe(124);
  });

  it('boots a kernel and an initrd of the user, hears the serial port, and powers off', async () => {
    const result = await boot(['-k', place.path('kernel')], '');
    expect(result.stdout.toString()).toMatch(/cpus=1[^]*heard <typed in>/);
    expect(result.stderr).toContain('powered off');
    expect(result.code).toBe(0);
  });

  it('tells a reboot', async () => {
    const result = await boot(['-k', place.path('kernel')], 'end=reboot');
    expect(result.stderr).toContain('rebooted');
    expect(result.code).toBe(0);
  });

  it('tells a panic', async () => {
    const result = await boot(['-k', place.path('kernel')], 'end=panic');
    expect(result.stderr).toMatch(/kernel panicked: .*Attempted to kill init/);
    expect(result.code).toBe(125);
  });
}

describe('x86-64', () => {
  // One CPU: with two, the emulated machine's kernel breaks at times when this one is busy, and guests are slower.
  const place = new KvmPlace('x86_64');
  const run = (options: readonly string[], script: string): Promise<CommandResult> =>
    place.vmm(['run', '--hypervisor', 'kvm', ...options, '--', 'sh', '-c', script]);
  const boot = (kernel: string, options: readonly string[], cmdline: string): Promise<CommandResult> =>
    place.vmm(
      [
        ...['run', '--hypervisor', 'kvm', '-k', place.path(kernel), '--initrd', place.path('init.cpio')],
        ...[...options, '-p', `console=ttyS0 quiet panic=-1 cryptomgr.notests end=reboot ${cmdline}`],
      ],
      'typed in\n',
    );
  beforeAll(async () => {
    place.put('vmlinux', (await stockKernels()).vmlinux);
    place.put('pciutils.cpio', buildCpio(await debianTree(['pciutils'], 'x86_64')));
  });
  testsOf(place, 'ttyS0');

  it.each([
    ['pvh', 'triple fault', 'reboot=t'],
    ['linux64', 'keyboard controller', 'reboot=k'],
  ])('boots vmlinux by %s; a reboot by %s ends the VM', async (protocol, _, reboot) => {
    const result = await boot('vmlinux', ['--boot-protocol', protocol], reboot);
    expect(result.stdout.toString()).toContain('heard <typed in>');
    expect(result.stderr).toContain('rebooted');
    expect(result.code).toBe(0);
  });

  // Debian's kernel has no CONFIG_X86_MPPARSE: without ACPI it finds one CPU, and interrupts through the PIC.
  it('boots a kernel that does without ACPI', async () => {
    const result = await boot('kernel', ['-c', '2'], 'acpi=off reboot=k');
    expect(result.stdout.toString()).toMatch(/cpus=1[^]*heard <typed in>/);
    expect(result.stderr).toContain('rebooted');
  });

  it('works with the I/O APIC in this process, disks and two vCPUs included', async () => {
    const result = await run(
      ['--irqchip', 'split', '-c', '2', '-d', `${place.path('source.img')},ro`],
      'sha256sum </dev/vda; nproc',
    );
    expect(result.stderr).toBe('');
    expect(result.stdout.toString()).toBe(`${sha256(await place.read(place.path('source.img')))}  -\n2\n`);
    expect(result.code).toBe(0);
  });

  it.each([
    [true, ''],
    [false, 'pci=nomsi'],
  ])(
    'has PCI with the I/O APIC in this process; messages for interrupts: %s',
    async (messages, parameters) => {
      const cmdline = `console=ttyS0 quiet panic=-1 cryptomgr.notests ${parameters}`;
      const options = ['--transport', 'pci', '--irqchip', 'split', '-c', '2', '-p', cmdline];
      const disk = place.path('source.img');
      const result = await run([...options, '-d', `${disk},ro`], PCI_SCRIPT);
      expectPciResult(result, await place.read(disk), { messages });
    },
  );

  it('has PCI devices that are what lspci says', async () => {
    const files = ['--guest-files', place.path('pciutils.cpio')];
    const result = await run([...files, '--transport', 'pci', '-d', `${place.path('source.img')},ro`], LSPCI);
    expect([result.code, result.stderr]).toEqual([0, '']);
    expectListing(result.stdout.toString());
  });

  it('shows a processor of the last fifteen years when told to, with the paravirtual clock, and time goes on', async () => {
    const clocksource = '/sys/devices/system/clocksource/clocksource0/current_clocksource';
    const result = await run(
      ['--cpu', 'portable'],
      `grep -m1 ^flags /proc/cpuinfo; cat ${clocksource}; a=$(date +%s); sleep 2; echo $(($(date +%s) - a)); date +%s`,
    );
    const [processor = '', clock, elapsed, now] = result.stdout.toString().split('\n');
    const flags = processor.split(' ');
    expect(flags).toEqual(expect.arrayContaining(['hypervisor', 'sse4_2', 'popcnt', 'cx16']));
    expect(flags).not.toContain('avx2');
    expect(clock).toBe('kvm-clock');
    expect(Number(elapsed)).toBeGreaterThanOrEqual(2);
    expect(Math.abs(Number(now) - Date.now() / 1000)).toBeLessThan(120);
  });
});

describe('arm64', () => {
  testsOf(new KvmPlace('aarch64', { cpus: 2 }), 'ttyAMA0');
});

describe('arm64 with a GICv2', () => {
  const place = new KvmPlace('aarch64', { gic: 2 });
  const disk = randomBytes(MIB);
  beforeAll(async () => {
    place.put('disk.img', disk);
    await place.open();
  });
  afterAll(() => place[Symbol.asyncDispose]());

  it.each([
    [true, ''],
    [false, 'pci=nomsi'],
  ])('takes what KVM has there; messages for interrupts of PCI devices: %s', async (messages, parameters) => {
    const cmdline = `console=ttyAMA0 quiet panic=-1 cryptomgr.notests ${parameters}`;
    const result = await place.vmm([
      ...['run', '--hypervisor', 'kvm', '--transport', 'pci', '-c', '2', '-p', cmdline],
      ...['-d', `${place.path('disk.img')},ro`, '--', 'sh', '-c', PCI_SCRIPT],
    ]);
    expectPciResult(result, disk, { messages });
    // On both CPUs, by the only kind of controller that there is.
    expect(result.stdout.toString()).toMatch(/^ +CPU0 +CPU1 *$/m);
    expect(result.stdout.toString()).toMatch(/ GIC-0 /);
  });
});
