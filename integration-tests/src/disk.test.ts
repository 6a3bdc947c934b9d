import { jest } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { BOOT_TIMEOUT, Scratch, sh, sha256 } from './support.ts';

jest.setTimeout(BOOT_TIMEOUT);

const MIB = 1024 * 1024;
const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

describe('disks', () => {
  it('are read and written exactly', async () => {
    const source = scratch.file('source.img', randomBytes(8 * MIB));
    const target = scratch.file('target.img', new Uint8Array(8 * MIB));
    const script =
      'sha256sum </dev/vda; dd if=/dev/vda of=/dev/vdb bs=64k conv=fsync 2>/dev/null; sha256sum </dev/vdb';
    const result = await sh(script, ['-d', `${source},ro`, '-d', target]);
    const sum = sha256(readFileSync(source));
    expect(result.stdout.toString()).toBe(`${sum}  -\n${sum}  -\n`);
    expect(sha256(readFileSync(target))).toBe(sum);
  });

  it('hold a file system that both sides agree on', async () => {
    const image = scratch.file('ext4.img', new Uint8Array(32 * MIB));
    execFileSync('/sbin/mke2fs', ['-q', '-F', '-t', 'ext4', image]);
    const script = [
      'mount -t ext4 /dev/vda /mnt',
      'mkdir /mnt/d && i=0 && while [ $i -lt 50 ]; do echo "file $i" >/mnt/d/$i; i=$((i+1)); done',
      'head -c 3000000 /dev/urandom >/mnt/big && sha256sum </mnt/big',
      'umount /mnt',
    ].join(' && ');
    const result = await sh(script, ['-d', image]);
    expect(result.stderr).not.toMatch(/error/i);
    expect(result.code).toBe(0);
    execFileSync('/sbin/e2fsck', ['-f', '-n', image]);
    const big = execFileSync('/sbin/debugfs', ['-R', 'cat /big', image], {
      maxBuffer: 64 * MIB,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    expect(result.stdout.toString()).toBe(`${sha256(big)}  -\n`);
  });

  it('refuse writes when they are read-only', async () => {
    const content = randomBytes(MIB);
    const image = scratch.file('ro.img', content);
    const script =
      'cat /sys/block/vda/ro; echo x | dd of=/dev/vda conv=fsync; echo "code $?"; mount -t ext4 /dev/vda /mnt';
    const result = await sh(script, ['-d', `${image},ro`]);
    expect(result.stdout.toString()).toBe('1\ncode 1\n');
    expect(result.stderr).toMatch(/not permitted|Read-only/);
    expect(readFileSync(image).equals(content)).toBe(true);
  });
});
