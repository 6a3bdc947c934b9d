// Runs inside the rig: a stock kernel on KVM whose init measures its devices, under ours and under QEMU in turn.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { VmBuilder, prepareGuest } from '@vmm/reference-vmm';
import { scratch, serveVsock, timed, vsockPattern } from '../support.mjs';

const { ROUNDS, TRANSPORT, VSOCK_BYTES } = process.env;
const END = 'ALL-DONE';
/** Of one VM; only a hang reaches it. */
const LIMIT_MS = 400_000;
const CMDLINE = 'console=ttyS0 quiet panic=-1 reboot=t 8250.nr_uarts=1 cryptomgr.notests';
const INITRD = '/bench/initrd.cpio';
const TAP = 'vm0';
const MAC = '52:54:00:12:34:56';
const CID = 42;
const DISK = '/bench/disk.img';
const DISK_BYTES = 32 << 20;
const BUSYBOX = '/usr/bin/busybox';
const QEMU = 'qemu-system-x86_64';
const QEMU_LIBRARIES = '/opt/qemu/lib/x86_64-linux-gnu';
const VIRTIOFSD = '/opt/qemu/lib/qemu/virtiofsd';

function load(module) {
  const folder = '/rig/modules.d';
  const needs = readFileSync(`${folder}/${module}.needs`, 'utf8').split('\n').filter(Boolean);
  for (const name of [...needs, module]) {
    if (!existsSync(`/sys/module/${name}`)) execFileSync(BUSYBOX, ['insmod', `${folder}/${name}.ko`]);
  }
}

load('tun');
load('vhost_vsock');
execFileSync(BUSYBOX, ['tunctl', '-t', TAP]);
execFileSync('ip', ['addr', 'add', '10.9.0.1/24', 'dev', TAP]);
execFileSync('ip', ['link', 'set', TAP, 'up']);
// CUBIC, the default, leaves slow start when round trips get longer, as they do by chance on an emulated CPU: then it is
// that which is measured. The guest does the same.
writeFileSync('/proc/sys/net/ipv4/tcp_congestion_control', 'reno');
writeFileSync(DISK, Buffer.alloc(DISK_BYTES, 0x5a));
execFileSync('sync');
const host = spawn('/bench/host-load', [VSOCK_BYTES], { stdio: ['ignore', 'pipe', 'inherit'] });
await once(host.stdout, 'data');
const chunks = vsockPattern(Number(VSOCK_BYTES));
const { kernel } = await prepareGuest((message) => console.error(message), 'x86_64');
const missing = {
  ...(existsSync('/dev/vhost-vsock') ? {} : { vsock: 'there is no /dev/vhost-vsock for QEMU' }),
  ...(existsSync(VIRTIOFSD) ? {} : { fs: 'there is no virtiofsd for QEMU' }),
};

async function withDirectory(run) {
  const path = mkdtempSync(join(scratch, 'share-'));
  try {
    return await run(path);
  } finally {
    rmSync(path, { recursive: true, force: true });
  }
}

async function ours(directory) {
  const vm = await new VmBuilder()
    .hypervisor('kvm')
    .transport(TRANSPORT)
    .kernel(kernel)
    .initrd(INITRD)
    .cmdline(CMDLINE)
    .memoryMb(256)
    .blockDevice(DISK)
    .networkDevice({ kind: 'tap', interface: TAP, mac: MAC })
    .vsock(CID)
    .shareDirectory(directory, { tag: 'bench' })
    .build();
  serveVsock(vm.vsock, chunks);
  const timer = setTimeout(() => vm[Symbol.asyncDispose](), LIMIT_MS);
  vm.start();
  let output = '';
  for await (const text of vm.console) {
    output += text;
    if (output.includes(END)) break;
  }
  clearTimeout(timer);
  await vm[Symbol.asyncDispose]();
  if (!output.includes(END)) throw new Error(`ours did not come to its end\n${output}`);
  return output;
}

async function peer(directory) {
  const socket = `${directory}.sock`;
  const command = ['--library-path', QEMU_LIBRARIES, VIRTIOFSD, `--socket-path=${socket}`, '-f'];
  const daemon =
    missing.fs === undefined
      ? spawn(
          `${QEMU_LIBRARIES}/ld-linux-x86-64.so.2`,
          [...command, '-o', `source=${directory}`, '-o', 'sandbox=chroot', '-o', 'xattr'],
          { stdio: ['ignore', 'inherit', 'inherit'].map((each, fd) => (fd === 1 ? 2 : each)) },
        )
      : undefined;
  try {
    for (let i = 0; i < 400 && daemon !== undefined && !existsSync(socket); i++) await sleep(50);
    const shape = TRANSPORT === 'pci' ? 'pci,disable-legacy=on' : 'device';
    const args = [
      ...['-M', 'microvm,rtc=on,pcie=on,memory-backend=m', '-bios', 'qboot.rom', '-cpu', 'host'],
      ...['-global', 'virtio-mmio.force-legacy=false', '-accel', 'kvm', '-m', '256'],
      ...['-object', 'memory-backend-memfd,id=m,size=256M,share=on'],
      ...['-nodefaults', '-display', 'none', '-no-reboot', '-serial', 'stdio'],
      ...['-kernel', kernel, '-initrd', INITRD, '-append', CMDLINE],
      ...['-drive', `file=${DISK},format=raw,if=none,id=d`, '-device', `virtio-blk-${shape},drive=d`],
      ...['-netdev', `tap,id=n,ifname=${TAP},script=no,downscript=no,vhost=off`],
      ...['-device', `virtio-net-${shape},netdev=n,mac=${MAC}${TRANSPORT === 'pci' ? ',romfile=' : ''}`],
      ...(missing.vsock === undefined ? ['-device', `vhost-vsock-${shape},guest-cid=${CID}`] : []),
      ...(daemon === undefined
        ? []
        : [
            ...['-chardev', `socket,id=c,path=${socket}`],
            ...['-device', `vhost-user-fs-${shape.split(',')[0]},chardev=c,tag=bench,queue-size=1024`],
          ]),
    ];
    const { output } = await timed(QEMU, args, END, LIMIT_MS);
    return output;
  } finally {
    daemon?.kill('SIGKILL');
    rmSync(socket, { force: true });
  }
}

mkdirSync('/var/run', { recursive: true });
const results = { ours: [], peer: [] };
for (let round = 0; round < Number(ROUNDS); round++) {
  results.ours.push(await withDirectory(ours));
  results.peer.push(await withDirectory(peer));
}
const peerVersion = execFileSync(QEMU, ['--version'], { encoding: 'utf8' }).split('\n')[0];
console.log(JSON.stringify({ ...results, missing, peerVersion }));
process.exit(host.kill() ? 0 : 1);
