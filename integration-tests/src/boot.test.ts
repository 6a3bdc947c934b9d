import { jest } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { BOOT_TIMEOUT, Scratch, cli, guest, initrdWith, sh } from './support.ts';

jest.setTimeout(BOOT_TIMEOUT);

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

describe('the built-in guest', () => {
  it("is Debian's unmodified kernel, with entropy, a clock and the VM's name", async () => {
    const { kernelVersion } = await guest();
    const script =
      'cat /proc/version; hostname; date +%s; head -c 32 /dev/hwrng | wc -c; cat /sys/class/misc/hw_random/rng_current';
    const result = await sh(script, ['--name', 'it-boots']);
    const [version, hostname, seconds, entropy, source] = result.stdout.toString().split('\n');
    expect(version).toMatch(/^Linux version .*Debian/);
    expect(version).toContain(kernelVersion);
    expect(hostname).toBe('it-boots');
    expect(Math.abs(Number(seconds) - Date.now() / 1000)).toBeLessThan(120);
    expect(entropy).toBe('32');
    expect(source).toMatch(/^virtio_rng/);
  });

  it.each([
    ['64M', 64],
    ['1G', 1024],
    ['3G', 3072],
  ])('has the memory it was given: %s', async (size, mebibytes) => {
    const result = await sh("grep MemTotal /proc/meminfo | tr -dc '0-9'", ['-m', size]);
    const total = Number(result.stdout.toString()) / 1024;
    expect(total).toBeLessThanOrEqual(mebibytes);
    // Kernel image, page tables and the struct pages (1/64) are not in MemTotal.
    expect(total).toBeGreaterThan(mebibytes * (1 - 1 / 32) - 48);
  });
});

describe('a kernel, an initrd and a command line of the user', () => {
  it('boots them, with the command line as given', async () => {
    const { kernel } = await guest();
    const initrd = scratch.file(
      'cmdline.cpio',
      await initrdWith('echo "cmdline=<$(cat /proc/cmdline)>"; poweroff -f'),
    );
    const cmdline = 'console=ttyAMA0 quiet  panic=-1 cryptomgr.notests my.option="a b"';
    const result = await cli(['run', '-k', kernel, '--initrd', initrd, '-p', cmdline]);
    expect(result.stdout.toString()).toContain(`cmdline=<${cmdline}>`);
    expect(result.code).toBe(0);
    expect(result.stderr).toContain('powered off');
  });

  it('boots a gzip-compressed Image and says when the guest rebooted', async () => {
    const { kernel } = await guest();
    const compressed = scratch.file('Image.gz', gzipSync(readFileSync(kernel), { level: 1 }));
    const initrd = scratch.file('reboot.cpio', await initrdWith('echo userspace; reboot -f'));
    const result = await cli(['run', '-k', compressed, '--initrd', initrd]);
    expect(result.stdout.toString()).toContain('userspace');
    expect(result.code).toBe(0);
    expect(result.stderr).toContain('rebooted');
  });

  it('reports a kernel panic as such and exits with 125', async () => {
    const { kernel } = await guest();
    const initrd = scratch.file('panic.cpio', await initrdWith('exit 3'));
    const result = await cli(['run', '-k', kernel, '--initrd', initrd]);
    expect(result.code).toBe(125);
    expect(result.stderr).toMatch(/kernel panicked: .*Attempted to kill init/);
  });

  it('ends even when the command line lets a panicked kernel hang', async () => {
    const { kernel } = await guest();
    const result = await cli(['run', '-k', kernel, '-p', 'console=ttyAMA0 cryptomgr.notests panic=0']);
    expect(result.code).toBe(125);
    expect(result.stderr).toMatch(/kernel panicked: .*Unable to mount root fs/);
  });

  it('passes what is typed to the serial console', async () => {
    const { kernel } = await guest();
    const initrd = scratch.file(
      'typed.cpio',
      await initrdWith('echo ready; read line; echo "got <$line>"; poweroff -f'),
    );
    let answered = false;
    const result = await cli(['run', '-k', kernel, '--initrd', initrd], {
      openStdin: true,
      onOutput: (text, { write }) => {
        if (answered || !text.includes('ready')) return;
        answered = true;
        write('typed in\n');
      },
    });
    expect(result.stdout.toString()).toContain('got <typed in>');
    expect(result.code).toBe(0);
  });
});
