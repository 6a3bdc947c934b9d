// One emulated machine: QEMU's TCG with a CPU that has virtualization, disks by NVMe, streams by virtio-serial.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { RigError, findTool } from './images.mjs';
import { UntilToken } from './streams.mjs';

/** @typedef {import('./base-image.mjs').Arch} Arch */

/**
 * @typedef {object} MachineOptions
 * @property {Arch} arch
 * @property {number} cpus
 * @property {number} memory in MiB
 * @property {2 | 3} gic version of the arm64 machine's interrupt controller
 * @property {string} kernel
 * @property {readonly string[]} images root first, the run's own last
 * @property {string} token
 * @property {(text: string) => void} [onConsole] receives the machine's serial console
 */

const PACKAGE = { x86_64: 'qemu-system-x86', arm64: 'qemu-system-arm' };
const CONSOLE_BYTES = 256 << 10;

/**
 * Models that are quick to emulate: with `max` a nested boot takes half as long again on x86-64, and the
 * pointer authentication of arm64's makes its own boot take seven times as long. A GICv2 in a guest needs a
 * GICv2 outside.
 *
 * @param {MachineOptions} options
 */
function machineArguments({ arch, gic }) {
  if (arch === 'x86_64') return ['-M', 'q35', '-cpu', 'EPYC'];
  const cpu = gic === 2 ? 'cortex-a72' : 'neoverse-n1';
  return ['-M', `virt,virtualization=on,gic-version=${gic}`, '-cpu', cpu];
}

/** @param {MachineOptions} options */
function kernelCommandLine({ arch, images, cpus }) {
  return [
    `console=${arch === 'x86_64' ? 'ttyS0' : 'ttyAMA0'} quiet panic=-1 mitigations=off cryptomgr.notests nokaslr apparmor=0`,
    'random.trust_cpu=on random.trust_bootloader=on',
    ...(arch === 'x86_64' ? ['reboot=t no_timer_check tsc=reliable'] : []),
    `maxcpus=${cpus} root=/dev/nvme0n1 rootfstype=ext4 rw init=/rig/init rig_run=nvme0n${images.length}`,
  ].join(' ');
}

/**
 * Starts a machine. Its streams are sockets that QEMU inherits, so nothing of it has a name.
 *
 * @param {MachineOptions} options
 */
export function startMachine(options) {
  const program = `qemu-system-${options.arch === 'x86_64' ? 'x86_64' : 'aarch64'}`;
  const qemu = findTool(program);
  if (qemu === undefined) {
    throw new RigError(`${program} is missing: apt-get install ${PACKAGE[options.arch]}`);
  }
  const ports = ['stdin', 'stdout', 'stderr', 'control'];
  const args = [
    ...machineArguments(options),
    ...['-accel', 'tcg', '-m', `${options.memory}`, '-smp', `${options.cpus}`],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
    ...['-kernel', options.kernel, '-append', kernelCommandLine(options)],
    ...['-device', 'nvme,id=nvme,serial=rig', '-device', 'virtio-serial-pci,max_ports=8'],
    ...options.images.flatMap((file, index) => [
      '-drive',
      `file=${file.replaceAll(',', ',,')},format=raw,if=none,id=disk${index + 1},snapshot=on`,
      '-device',
      `nvme-ns,drive=disk${index + 1},bus=nvme,nsid=${index + 1}`,
    ]),
    ...ports.flatMap((name, index) => [
      '-chardev',
      `socket,id=${name},fd=${index + 3}`,
      '-device',
      `virtserialport,chardev=${name},name=${name},nr=${index + 1}`,
    ]),
  ];
  // The kernel ends QEMU when this process ends in a way that it cannot handle.
  const guard = ['/usr/bin/setpriv', '/bin/setpriv'].find((file) => existsSync(file));
  const [file, ...rest] =
    guard === undefined ? [qemu, ...args] : [guard, '--pdeathsig', 'KILL', '--', qemu, ...args];
  const child = spawn(file, rest, { stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe', 'pipe', 'pipe'] });
  const kill = () => void child.kill('SIGKILL');
  process.once('exit', kill);

  let log = '';
  const onLog = (/** @type {Buffer} */ bytes) => {
    const text = bytes.toString('latin1');
    log = (log + text).slice(-CONSOLE_BYTES);
    options.onConsole?.(text);
  };
  child.stdout.on('data', onLog);
  child.stderr.on('data', onLog);

  const [, , , stdin, stdoutPort, stderrPort, control] = /** @type {import('node:net').Socket[]} */ (
    child.stdio
  );
  if (!stdin || !stdoutPort || !stderrPort || !control) throw new RigError('QEMU has no streams');
  for (const socket of [stdin, stdoutPort, stderrPort, control]) socket.on('error', () => undefined);
  const stdout = stdoutPort.pipe(new UntilToken(options.token));
  const stderr = stderrPort.pipe(new UntilToken(options.token));

  /** @type {(value: void) => void} */
  let onReady;
  /** @type {Promise<void>} */
  const ready = new Promise((resolve) => (onReady = resolve));
  /** @type {number | undefined} */
  let code;
  let lines = '';
  const endWhenComplete = () => {
    if (code !== undefined && stdout.complete && stderr.complete) kill();
  };
  control.on('data', (bytes) => {
    lines += bytes.toString('latin1');
    if (lines.startsWith('ready\n')) onReady();
    const match = /^exit (\d+)$/m.exec(lines);
    if (match !== null) code = Number(match[1]);
    endWhenComplete();
  });
  stdout.on('complete', endWhenComplete);
  stderr.on('complete', endWhenComplete);

  /** Resolves when QEMU is gone: with the exit code of the command, or undefined when the machine failed. */
  const ended = new Promise((resolve) => {
    child.on('error', (error) => {
      log += `${error.message}\n`;
      resolve(undefined);
    });
    child.on('close', () => {
      process.off('exit', kill);
      resolve(stdout.complete && stderr.complete ? code : undefined);
    });
  });
  return {
    stdin,
    stdout,
    stderr,
    ready,
    ended: /** @type {Promise<number | undefined>} */ (ended),
    kill,
    console: () => log,
  };
}
