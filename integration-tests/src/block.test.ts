import { jest } from '@jest/globals';
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { VmBuilder } from '@vmm/reference-vmm';
import { createBlockBackend, OverlayBlockBackend, VirtioBlock } from '@vmm/virtio-devices';
import { FileBlockBackend, OverlayFile } from '@vmm/virtio-devices/node';
import { debianTree, guestProgram } from './guest-program.ts';
import { GuestShell } from './guest-shell.ts';
import { BOOT_TIMEOUT, ROOT, Scratch, sha256, sh } from './support.ts';

jest.setTimeout(2 * BOOT_TIMEOUT);

const MIB = 1024 * 1024;
const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

/** An image of zeroes that takes no room. */
function blank(name: string, mebibytes: number): string {
  const path = scratch.file(name, new Uint8Array(0));
  truncateSync(path, mebibytes * MIB);
  return path;
}

/** The host's view of a file in an ext4 image. */
function fileIn(image: string, path: string): Buffer {
  return execFileSync('/sbin/debugfs', ['-R', `cat ${path}`, image], {
    maxBuffer: 64 * MIB,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}

const COMBINATIONS = [
  { transport: 'mmio', ring: 'split' },
  { transport: 'mmio', ring: 'packed' },
  { transport: 'pci', ring: 'split' },
  { transport: 'pci', ring: 'packed' },
] as const;

describe.each(COMBINATIONS)('a stock kernel on $transport with $ring rings', ({ transport, ring }) => {
  it('makes, uses and checks an ext4 file system on a disk of two queues', async () => {
    const image = blank(`${transport}-${ring}.img`, 64);
    await using shell = await GuestShell.start(
      new VmBuilder()
        .hypervisor('wasm')
        .cpus(2)
        .transport(transport)
        .ring(ring)
        .blockDevice(image, { serial: 'S-0123456789', queues: 2 })
        .guestFiles(await debianTree(['e2fsprogs'])),
    );
    expect(await shell.run('echo $(cat /sys/block/vda/serial)')).toBe('S-0123456789');
    expect(await shell.run('ls /sys/block/vda/mq | wc -l')).toBe('2');
    expect(await shell.run('cat /sys/block/vda/queue/write_cache')).toBe('write back');
    expect(await shell.run('cat /sys/block/vda/queue/physical_block_size')).toBe('4096');
    expect(await shell.run('mkfs.ext4 -q -F /dev/vda && mount -t ext4 /dev/vda /mnt')).toBe('');
    expect(
      await shell.run('for i in 1 2 3 4; do head -c 1500000 /dev/urandom >/mnt/$i & done; wait; sync'),
    ).toBe('');
    const sums = await shell.run('cd /mnt; sha256sum 1 2 3 4; cd /');
    expect(await shell.run('echo 3 >/proc/sys/vm/drop_caches; cd /mnt; sha256sum 1 2 3 4; cd /')).toBe(sums);
    expect(await shell.run('umount /mnt && e2fsck -f -n /dev/vda >/tmp/fsck 2>&1; echo $?')).toBe('0');
    expect(await shell.run('dmesg | grep -iE "vda.*error|I/O error" | wc -l')).toBe('0');
    const device = shell.vm.devices
      .map((entry) => entry.device)
      .find((entry) => entry instanceof VirtioBlock);
    const { writes, flushes, errors } = device!.statistics;
    expect([writes > 0, flushes > 0, errors]).toEqual([true, true, 0]);
    await shell[Symbol.asyncDispose]();
    execFileSync('/sbin/e2fsck', ['-f', '-n', image], { stdio: 'ignore' });
    for (const line of sums.split('\n')) {
      const [sum, name] = line.split(/ +/);
      expect(sha256(fileIn(image, `/${name}`))).toBe(sum);
    }
  });
});

/** BLKZEROOUT of a part of a disk: device, offset, length. */
const ZERO_OUT = guestProgram(
  'bin/zero-out',
  `#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>

int main(int argc, char **argv)
{
	uint64_t range[2];
	int fd = argc == 4 ? open(argv[1], O_RDWR) : -1;

	if (fd < 0)
		return 2;
	range[0] = strtoull(argv[2], 0, 0);
	range[1] = strtoull(argv[3], 0, 0);
	return ioctl(fd, BLKZEROOUT, range) != 0;
}
`,
);

it('gives room back to the host when the guest discards, and zeroes it when it asks for zeroes', async () => {
  const image = scratch.file('full.img', randomBytes(16 * MIB));
  const before = statSync(image).blocks;
  await using shell = await GuestShell.start(
    new VmBuilder().hypervisor('wasm').transport('pci').blockDevice(image).guestFiles([ZERO_OUT]),
  );
  expect(await shell.run('blkdiscard -o 4M -l 8M /dev/vda')).toBe('');
  expect(await shell.run('zero-out /dev/vda 1048576 1048576')).toBe('');
  await shell[Symbol.asyncDispose]();
  expect(statSync(image).blocks).toBeLessThan(before - (7 * MIB) / 512);
  const after = readFileSync(image);
  expect(after.subarray(MIB, 2 * MIB).every((byte) => byte === 0)).toBe(true);
  expect(after.subarray(0, MIB).every((byte) => byte === 0)).toBe(false);
});

/** What a VMM of its own process runs until it is killed: the guest writes, flushes and says so. */
const WRITER = (backend: string, transport: string, ring: string): string => `
  import { VmBuilder } from '@vmm/reference-vmm';
  import { OverlayBlockBackend } from '@vmm/virtio-devices';
  import { FileBlockBackend, OverlayFile } from '@vmm/virtio-devices/node';
  const vm = await new VmBuilder().hypervisor('wasm').transport('${transport}').ring('${ring}')
    .blockDevice(${backend})
    .command('sh', '-c', 'head -c 3000000 /dev/urandom >/tmp/x; dd if=/tmp/x of=/dev/vda bs=64k seek=3 conv=fsync 2>/dev/null; sha256sum </tmp/x; while :; do head -c 3000000 /dev/urandom; done | dd of=/dev/vda bs=64k seek=100 count=9999 2>/dev/null')
    .build();
  vm.start();
  vm.streams.stdout.pipe(process.stdout);
`;

/** Kills that process with SIGKILL once the guest has flushed, in the middle of more writes; answers the sum it told. */
async function killedAfterFlush(script: string): Promise<string> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    cwd: join(ROOT, 'integration-tests'),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  for await (const bytes of child.stdout) {
    output += String(bytes);
    if (output.includes('\n')) break;
  }
  child.kill('SIGKILL');
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  expect(child.signalCode).toBe('SIGKILL');
  return output.slice(0, 64);
}

const WRITTEN = { offset: 3 * 65536, length: 3_000_000 };

describe.each([COMBINATIONS[0], COMBINATIONS[3]])(
  'kill -9 of the VMM after a flush, on $transport with $ring rings',
  ({ transport, ring }) => {
    it('leaves what was flushed in a raw image', async () => {
      const image = blank(`killed-${transport}.img`, 32);
      const sum = await killedAfterFlush(WRITER(`'${image}'`, transport, ring));
      const data = readFileSync(image).subarray(WRITTEN.offset, WRITTEN.offset + WRITTEN.length);
      expect(sha256(data)).toBe(sum);
    });

    it('leaves what was flushed in an overlay, and the base as it was', async () => {
      const content = randomBytes(32 * MIB);
      const base = scratch.file(`base-${transport}.img`, content);
      const overlay = scratch.file(`overlay-${transport}.img`);
      const backend = `new OverlayBlockBackend(new FileBlockBackend('${base}', { readOnly: true }), { store: OverlayFile.open('${overlay}', { sizeBytes: ${content.length} }) })`;
      const sum = await killedAfterFlush(WRITER(backend, transport, ring));
      expect(readFileSync(base).equals(content)).toBe(true);
      const again = new OverlayBlockBackend(new FileBlockBackend(base, { readOnly: true }), {
        store: OverlayFile.open(overlay, { sizeBytes: content.length }),
      });
      await using shell = await GuestShell.start(
        new VmBuilder().hypervisor('wasm').transport(transport).ring(ring).blockDevice(again),
      );
      const read = `dd if=/dev/vda bs=64k skip=3 count=46 2>/dev/null | head -c ${WRITTEN.length} | sha256sum`;
      expect(await shell.run(read)).toBe(`${sum}  -`);
      const untouched = 'dd if=/dev/vda bs=64k count=3 2>/dev/null | sha256sum';
      expect(await shell.run(untouched)).toBe(`${sha256(content.subarray(0, 3 * 65536))}  -`);
    });
  },
);

it('boots with a file system on a web server, writes to an overlay, and the image stays as it is', async () => {
  const tree = scratch.file('tree');
  mkdirSync(tree);
  const content = randomBytes(2 * MIB);
  writeFileSync(join(tree, 'data'), content);
  const image = blank('web.img', 16);
  execFileSync('/sbin/mke2fs', ['-q', '-F', '-t', 'ext4', '-d', tree, image]);
  const bytes = readFileSync(image);
  const server = createServer((request, response) => {
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    response.writeHead(206);
    response.end(bytes.subarray(Number(from), Number(to) + 1));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  try {
    const web = createBlockBackend({
      sizeBytes: bytes.length,
      description: url,
      async read(offset, length, signal) {
        const range = `bytes=${offset}-${offset + length - 1}`;
        return new Uint8Array(await (await fetch(url, { headers: { range }, signal })).arrayBuffer());
      },
    });
    await using shell = await GuestShell.start(
      new VmBuilder().hypervisor('wasm').blockDevice(new OverlayBlockBackend(web)),
    );
    expect(await shell.run('mount -t ext4 /dev/vda /mnt && sha256sum </mnt/data')).toBe(
      `${sha256(content)}  -`,
    );
    expect(
      await shell.run('echo written >/mnt/new && sync && echo 3 >/proc/sys/vm/drop_caches && cat /mnt/new'),
    ).toBe('written');
    expect(readFileSync(image).equals(bytes)).toBe(true);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

describe('the command', () => {
  it('copies a disk exactly', async () => {
    const source = scratch.file('source.img', randomBytes(8 * MIB));
    const target = scratch.file('target.img', new Uint8Array(8 * MIB));
    const script =
      'sha256sum </dev/vda; dd if=/dev/vda of=/dev/vdb bs=64k conv=fsync 2>/dev/null; sha256sum </dev/vdb';
    const result = await sh(script, ['-d', `${source},ro`, '-d', target]);
    const sum = sha256(readFileSync(source));
    expect(result.stdout.toString()).toBe(`${sum}  -\n${sum}  -\n`);
    expect(sha256(readFileSync(target))).toBe(sum);
  });

  it('refuses writes to a read-only disk', async () => {
    const content = randomBytes(MIB);
    const image = scratch.file('ro.img', content);
    const script =
      'cat /sys/block/vda/ro; echo x | dd of=/dev/vda conv=fsync; echo "code $?"; mount -t ext4 /dev/vda /mnt';
    const result = await sh(script, ['-d', `${image},ro`]);
    expect(result.stdout.toString()).toBe('1\ncode 1\n');
    expect(result.stderr).toMatch(/not permitted|Read-only/);
    expect(readFileSync(image).equals(content)).toBe(true);
  });

  it('holds a disk to its rate, and its data is right', async () => {
    const image = scratch.file('slow.img', randomBytes(MIB));
    const result = await sh('sha256sum </dev/vda', ['-d', `${image},ro,bandwidth=2M`]);
    expect(result.stdout.toString()).toBe(`${sha256(readFileSync(image))}  -\n`);
  });

  it('says which disk another VM has', async () => {
    const image = scratch.file('locked.img', new Uint8Array(MIB));
    using held = new FileBlockBackend(image);
    const result = await sh('true', ['-d', held.description]);
    expect(result.code).not.toBe(0);
    expect(result.stderr).toContain(`${image} is in use by another virtual machine`);
  });
});
