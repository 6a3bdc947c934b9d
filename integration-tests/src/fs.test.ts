import { jest } from '@jest/globals';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { VmBuilder } from '@vmm/reference-vmm';
import { guestProgram } from './guest-program.ts';
import { BOOT_TIMEOUT, ROOT, Scratch, sha256 } from './support.ts';

jest.setTimeout(2 * BOOT_TIMEOUT);

const MIB = 1024 * 1024;
const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

const PROGRAM = readFileSync(join(ROOT, 'integration-tests/src/fs-guest.c'), 'utf8');

/** A directory of its own for a test. */
function directory(name: string): string {
  const path = scratch.file(name);
  mkdirSync(path);
  return path;
}

/** Runs a script in a guest that has a directory at /mnt/data, and answers what it printed. */
async function inShare(
  path: string,
  script: string,
  options: { readOnly?: boolean; build?: (builder: VmBuilder) => VmBuilder } = {},
): Promise<string> {
  const { build = (builder: VmBuilder): VmBuilder => builder, readOnly = false } = options;
  const builder = new VmBuilder()
    .hypervisor('wasm')
    .shareDirectory(path, { tag: 'data', readOnly })
    .guestFiles([guestProgram('bin/fs-guest', PROGRAM)])
    .command('sh', '-c', `exec 2>&1; cd /mnt/data; ${script}`);
  await using vm = await build(builder).build();
  vm.start();
  vm.streams!.stdin.end();
  const [output] = await Promise.all([text(vm.streams!.stdout), vm.stopped]);
  return output;
}

/** A line for everything in a tree: type, permissions, owner, size, time, links, target, attributes, contents. */
function describeTree(path: string): string[] {
  const script = `
import os, sys, stat, hashlib
root = os.fsencode(sys.argv[1])
first = {}
for folder, dirs, files in os.walk(root):
    dirs.sort()
    for name in sorted(dirs + files):
        path = os.path.join(folder, name)
        st = os.lstat(path)
        link = stat.S_ISLNK(st.st_mode)
        regular = stat.S_ISREG(st.st_mode)
        line = [os.path.relpath(path, root), oct(st.st_mode), st.st_uid, st.st_gid]
        line.append(st.st_size if not stat.S_ISDIR(st.st_mode) else 0)
        line.append(st.st_mtime_ns)
        line.append(os.path.relpath(first.setdefault(st.st_ino, path), root))
        line.append(os.readlink(path) if link else b'')
        line.append([] if link else sorted((a, os.getxattr(path, a)) for a in os.listxattr(path) if a.startswith('user.')))
        line.append(hashlib.sha256(open(path, 'rb').read()).hexdigest() if regular else '')
        print(line)
`;
  return execFileSync('python3', ['-c', script, path], { encoding: 'utf8' }).trim().split('\n');
}

function setAttribute(path: string, name: string, value: string): void {
  execFileSync('python3', [
    '-c',
    'import os, sys; os.setxattr(sys.argv[1], sys.argv[2], os.fsencode(sys.argv[3]))',
    path,
    name,
    value,
  ]);
}

/** Files of many kinds. */
function plant(path: string): void {
  mkdirSync(path);
  const file = (name: string, content: string | Uint8Array, mode: number): void => {
    writeFileSync(join(path, name), content);
    chmodSync(join(path, name), mode);
  };
  mkdirSync(join(path, 'deep/er/still'), { recursive: true });
  file('empty', '', 0o644);
  file('deep/script', '#!/bin/sh\necho hi\n', 0o755);
  file('deep/er/secret', 'mine', 0o600);
  file('deep/er/still/random', randomBytes(300_001), 0o444);
  file('name with spaces and ünïcödé', 'x', 0o640);
  linkSync(join(path, 'deep/script'), join(path, 'hard link'));
  symlinkSync('deep/script', join(path, 'relative'));
  symlinkSync('/etc/passwd', join(path, 'absolute'));
  symlinkSync('nowhere', join(path, 'dangling'));
  execFileSync('mkfifo', [join(path, 'fifo')]);
  setAttribute(join(path, 'deep/script'), 'user.comment', 'a script');
  setAttribute(join(path, 'deep'), 'user.directory', 'yes');
  setAttribute(join(path, 'empty'), 'user.empty', '');
  chownSync(join(path, 'deep/er/secret'), 1234, 5678);
  chmodSync(join(path, 'deep/er/still'), 0o2755);
  let seconds = 1_000_000_000;
  for (const name of [
    'empty',
    'deep/script',
    'deep/er/secret',
    'deep/er/still/random',
    'deep/er/still',
    'deep',
  ]) {
    utimesSync(join(path, name), seconds, seconds++);
  }
}

describe.each(['mmio', 'pci'] as const)('a shared directory over %s', (transport) => {
  it('takes a tree of files both ways, as it was', async () => {
    const share = directory(`tree-${transport}`);
    plant(join(share, 'in'));
    const output = await inShare(
      share,
      [
        'fs-guest copy in /tmp/copy',
        'fs-guest copy /tmp/copy out',
        // The guest's memory file system has none.
        'fs-guest copy-xattrs in out',
      ].join(' && '),
      { build: (builder) => builder.transport(transport).ring(transport === 'pci' ? 'packed' : 'split') },
    );
    expect(output).toBe('ok\nok\nok\n');
    const tree = describeTree(join(share, 'in'));
    expect(tree).toHaveLength(13);
    expect(describeTree(join(share, 'out'))).toEqual(tree);
  });

  it('behaves as POSIX says, for several processes at a time', async () => {
    const share = directory(`posix-${transport}`);
    const output = await inShare(
      share,
      [
        'mkdir semantics && fs-guest semantics semantics',
        'for seed in 1 2 3; do fs-guest exercise file$seed 150 $seed & done; wait',
      ].join('\n'),
      { build: (builder) => builder.transport(transport).cpus(2) },
    );
    expect(output).toBe('ok\n'.repeat(4));
  });
});

it('carries large files and many small ones', async () => {
  const share = directory('large');
  const content = randomBytes(6 * MIB + 123);
  writeFileSync(join(share, 'from-host'), content);
  const output = await inShare(
    share,
    `sha256sum <from-host
     cp from-host copy && head -c 5000000 /dev/urandom >from-guest && sha256sum <from-guest
     for d in a b c d; do
       (mkdir $d; i=0; while [ $i -lt 400 ]; do echo $d $i >$d/$i; i=$((i+1)); done) &
     done; wait
     echo $(ls a | wc -l) $(cat b/* | wc -l) $(find . -type f | wc -l)
     rm -r c; ls`,
  );
  const [fromHost, fromGuest, counts, ...names] = output.trim().split('\n');
  expect(fromHost).toBe(`${sha256(content)}  -`);
  expect(fromGuest).toBe(`${sha256(readFileSync(join(share, 'from-guest')))}  -`);
  expect(counts).toBe('400 400 1603');
  expect(names).toEqual(['a', 'b', 'copy', 'd', 'from-guest', 'from-host']);
  expect(sha256(readFileSync(join(share, 'copy')))).toBe(sha256(content));
  expect(readdirSync(join(share, 'd'))).toHaveLength(400);
  expect(readFileSync(join(share, 'd/399'), 'utf8')).toBe('d 399\n');
});

it('changes nothing of a read-only share, whatever the guest mounts it as', async () => {
  const share = directory('read-only');
  writeFileSync(join(share, 'file'), 'unchanged', { mode: 0o644 });
  const before = describeTree(share);
  const output = await inShare(
    share,
    `mount -o remount,rw /mnt/data || echo no
     cat file; echo
     for command in 'touch new' 'mkdir new' 'rm file' 'mv file other' 'ln file hard' 'ln -s a b' \\
       'chmod 600 file' 'chown 1 file' 'touch file' 'truncate -s 0 file' 'dd if=/dev/zero of=file conv=notrunc'; do
       $command 2>&1 | grep -q 'Read-only file system' && echo refused || echo "$command"
     done`,
    { readOnly: true },
  );
  expect(output).toBe(`unchanged\n${'refused\n'.repeat(11)}`);
  expect(describeTree(share)).toEqual(before);
});

it('lets nobody out while the host puts symbolic links in the place of directories', async () => {
  const share = directory('escape');
  const outside = directory('outside');
  writeFileSync(join(outside, 'secret'), 'outside');
  mkdirSync(join(share, 'real'));
  writeFileSync(join(share, 'real/secret'), 'inside');
  symlinkSync(outside, join(share, 'link'));
  mkdirSync(join(share, 'flip'));
  writeFileSync(join(share, 'flip/secret'), 'inside');
  const flipper = spawn(
    'python3',
    [
      '-c',
      `
import ctypes, os, sys, time
libc = ctypes.CDLL(None)
os.chdir(sys.argv[1])
while True:
    libc.renameat2(-100, b'flip', -100, b'link', 2)
    time.sleep(0.0002)
`,
      share,
    ],
    { stdio: 'ignore' },
  );
  try {
    const output = await inShare(share, 'fs-guest escape . 400');
    expect(output).toBe('ok\n');
  } finally {
    flipper.kill('SIGKILL');
    await once(flipper, 'close');
  }
  expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe('outside');
  expect(readdirSync(outside)).toEqual(['secret']);
});

it('has no power over the host beyond the directory', async () => {
  const share = directory('power');
  writeFileSync(scratch.file('beside'), 'beside', { mode: 0o600 });
  symlinkSync('../beside', join(share, 'up'));
  const output = await inShare(
    share,
    `cat up; cat /mnt/data/../beside; ls -d .. >/dev/null
     ln up hard && cat hard
     mknod null c 1 3
     cp /bin/busybox . && chmod 4755 busybox
     echo done`,
  );
  expect(output).not.toContain('beside\n');
  expect(output.match(/No such file/g)).toHaveLength(3);
  expect(output).toMatch(/null.*not permitted/);
  expect(output).toMatch(/busybox.*not permitted/);
  expect(statSync(join(share, 'busybox')).mode & 0o7000).toBe(0);
  expect(statSync(scratch.file('beside')).nlink).toBe(1);
});
