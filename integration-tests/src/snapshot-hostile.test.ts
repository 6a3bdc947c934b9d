import { createHash } from 'node:crypto';
import {
  closeSync,
  cpSync,
  openSync,
  readFileSync,
  readSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import * as fc from 'fast-check';
import { createWasmHypervisor } from '@vmm/hypervisor/wasm';
import { VmBuilder, Vmm } from '@vmm/reference-vmm';
import { GuestShell } from './guest-shell.ts';
import { BOOT_TIMEOUT, Scratch } from './support.ts';

jest.setTimeout(BOOT_TIMEOUT);

const RUNS = Number(process.env['HOSTILE_RUNS'] ?? 45);
/** With the number of runs as it is, they are the same ones each time. */
const SEED = process.env['HOSTILE_RUNS'] === undefined ? { seed: 5 } : {};

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** Where a value is in another one. */
type Path = readonly (string | number)[];

function* leaves(value: Json, path: Path = []): Generator<Path> {
  yield path;
  if (typeof value !== 'object' || value === null) return;
  for (const [name, member] of Object.entries(value)) yield* leaves(member, [...path, name]);
}

function at(value: Json, path: Path): Json {
  return path.reduce<Json>((each, name) => (each as Record<string, Json>)[name]!, value);
}

function replaced(value: Json, [name, ...rest]: Path, by: Json | undefined): Json {
  if (name === undefined) return by ?? null;
  const inner = (member: Json): Json => replaced(member, rest, by);
  if (Array.isArray(value))
    return value.map((each, index) => (String(index) === String(name) ? inner(each) : each));
  const members = Object.entries(value as Record<string, Json>)
    .filter(([each]) => each !== name || rest.length > 0 || by !== undefined)
    .map(([each, member]): [string, Json] => [each, each === name ? inner(member) : member]);
  return Object.fromEntries(members);
}

/** What somebody who means harm may write in place of a value. */
const harmful = (value: Json): fc.Arbitrary<Json | undefined> => {
  const anything: fc.Arbitrary<Json | undefined> = fc.constantFrom<(Json | undefined)[]>(
    undefined,
    null,
    true,
    -1,
    0,
    1,
    0xffff,
    2 ** 32 - 1,
    2 ** 53,
    0.5,
    1e300,
    '',
    'x',
    [],
    {},
    { $integer: '18446744073709551615' },
    { $integer: '-1' },
    { $integer: '9'.repeat(70) },
    { $bytes: '' },
    { $bytes: '/'.repeat(64) },
  );
  if (typeof value === 'number')
    return fc.oneof(
      anything,
      fc.integer({ min: -2, max: 2 ** 31 - 1 }),
      fc.nat(63).map((bit) => (bit < 31 ? value ^ (1 << bit) : value + 2 ** bit)),
    );
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    const { $bytes, $integer } = value;
    if (typeof $bytes === 'string')
      return fc.oneof(
        anything,
        fc.uint8Array({ maxLength: 64 }).map((bytes): Json => {
          const altered = Buffer.from($bytes, 'base64');
          altered.set(bytes.subarray(0, altered.length), Math.max(0, altered.length - bytes.length));
          return { $bytes: altered.toString('base64') };
        }),
      );
    if (typeof $integer === 'string')
      return fc.oneof(
        anything,
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((n): Json => ({ $integer: `${n}` })),
        fc.nat(63).map((bit): Json => ({ $integer: `${BigInt($integer) ^ (1n << BigInt(bit))}` })),
      );
  }
  if (Array.isArray(value))
    return fc.oneof(
      anything,
      fc.boolean().map((longer): Json => (longer ? [...value, ...value] : value.slice(1))),
    );
  return anything;
};

describe('snapshots that somebody altered', () => {
  const scratch = new Scratch();
  const place = (name: string): string => join(scratch.path, name);
  let snapshot: { [name: string]: Json };
  let version: number;
  let restored = 0;

  /** As a program's own, which nothing but the software hypervisor is there for. */
  const restore = (name: string): Promise<Vmm> =>
    Vmm.restore(place(name), {
      name: `hostile-${process.pid}-${restored++}`,
      hypervisor: createWasmHypervisor(),
      paused: true,
    });

  /** A snapshot of this content, whose checksum fits. */
  function forge(content: Json): void {
    const sha256 = createHash('sha256')
      .update(JSON.stringify([content]))
      .digest('hex');
    writeFileSync(
      join(place('forged'), 'snapshot.json'),
      JSON.stringify({ version, sha256, snapshot: content }),
    );
  }

  /** A VM that runs a little and ends, or the code of the refusal. */
  async function outcome(name: string): Promise<string> {
    let vm: Vmm;
    try {
      vm = await restore(name);
    } catch (error) {
      // Anything else would be a fault of this program's.
      if (!(error instanceof Error) || !('code' in error)) throw error;
      const { name: kind, code, message } = error;
      expect(['VmmError', 'VirtioDeviceError']).toContain(kind);
      expect(typeof code).toBe('string');
      expect(message).not.toMatch(
        /undefined is not (iterable|an object|a function)|cannot read prop|is not a function/i,
      );
      return String(code);
    }
    await vm.resume();
    await new Promise((resolve) => setImmediate(resolve));
    await vm[Symbol.asyncDispose]();
    return (await vm.stopped).kind;
  }

  beforeAll(async () => {
    const builder = new VmBuilder()
      .hypervisor('wasm')
      .memoryMb(64)
      .vsock(42)
      .balloon({})
      .blockDevice(scratch.file('disk', new Uint8Array(65536)), {});
    await using shell = await GuestShell.start(builder);
    await shell.run('dd if=/dev/vda of=/dev/null 2>/dev/null');
    await shell.vm.snapshot(place('good'));
    cpSync(place('good'), place('forged'), { recursive: true });
    const file = JSON.parse(readFileSync(join(place('good'), 'snapshot.json'), 'utf8')) as {
      version: number;
      snapshot: { [name: string]: Json };
    };
    ({ version, snapshot } = file);
    // As if the copy were the file that was written: it is not checked before the guest runs, which takes most of the time.
    const { dev, ino, ctimeNs } = statSync(join(place('forged'), 'memory.bin'), { bigint: true });
    const identity = { device: `${dev}`, inode: `${ino}`, changed: `${ctimeNs}` };
    snapshot = {
      ...snapshot,
      memory: { ...(snapshot['memory'] as { [name: string]: Json }), file: identity },
    };
  });
  afterAll(() => scratch[Symbol.dispose]());

  it('by one bit of any file are refused', async () => {
    cpSync(place('good'), place('flipped'), { recursive: true });
    const files = readdirSync(place('flipped'));
    expect(files.sort()).toEqual(['memory.bin', 'snapshot.json']);
    // A line break at the end of the manifest is nobody's.
    const sizes = files.map(
      (name) => statSync(join(place('flipped'), name)).size - (name.endsWith('json') ? 2 : 0),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.nat(1),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.nat(7),
        async (file, where, bit) => {
          const path = join(place('flipped'), files[file]!);
          const offset = Math.floor(where * (sizes[file]! - 1));
          const handle = openSync(path, 'r+');
          try {
            const byte = new Uint8Array(1);
            readSync(handle, byte, 0, 1, offset);
            writeSync(handle, Uint8Array.of(byte[0]! ^ (1 << bit)), 0, 1, offset);
            expect(await outcome('flipped')).toMatch(/^(INVALID_SNAPSHOT|SNAPSHOT_MISMATCH)$/);
            writeSync(handle, byte, 0, 1, offset);
          } finally {
            closeSync(handle);
          }
        },
      ),
      { numRuns: Math.ceil(RUNS / 3), ...SEED },
    );
    // Put back as it was, it is whole, though it was touched.
    await using vm = await restore('flipped');
    expect(vm.state).toBe('paused');
  });

  it('with any value in the state of any device, and a checksum that fits, are refused or run by themselves', async () => {
    const paths = [...leaves(snapshot)].filter(([first]) =>
      ['machine', 'devices', 'config', 'memory'].includes(String(first)),
    );
    const seen = new Set<string>();
    await fc.assert(
      fc.asyncProperty(
        fc
          .nat(paths.length - 1)
          .map((index) => paths[index]!)
          .chain((path) => fc.tuple(fc.constant(path), harmful(at(snapshot, path)))),
        async ([path, value]) => {
          forge(replaced(snapshot, path, value));
          const code = await outcome('forged');
          seen.add(code);
          expect(code).toMatch(
            /^(INVALID_SNAPSHOT|SNAPSHOT_MISMATCH|INVALID_CONFIG|FILE_NOT_FOUND|NOT_FOUND|stopped|failed|shutdown|reset|panic)$/,
          );
        },
      ),
      { numRuns: RUNS, ...SEED },
    );
    expect(seen).toContain('INVALID_SNAPSHOT');
    forge(snapshot);
    expect(await outcome('forged')).toBe('stopped');
  });

  it('of another hypervisor, architecture or release are refused as such', async () => {
    for (const [change, code, message] of [
      [
        { hypervisor: 'kvm' },
        'SNAPSHOT_MISMATCH',
        /for aarch64 on kvm, and cannot go on for aarch64 on wasm/,
      ],
      [{ arch: 'x86_64' }, 'SNAPSHOT_MISMATCH', /for x86_64 on wasm/],
      [{ hypervisor: 'kvm', arch: 'x86_64' }, 'SNAPSHOT_MISMATCH', /for x86_64 on kvm/],
    ] as const) {
      forge({ ...snapshot, ...change });
      await expect(restore('forged')).rejects.toMatchObject({
        code,
        message: expect.stringMatching(message) as string,
      });
    }
    // By itself it looks for the hypervisor that the snapshot names, and no other.
    forge({ ...snapshot, arch: 'x86_64' });
    await expect(Vmm.restore(place('forged'), { name: 'hostile-other' })).rejects.toMatchObject({
      code: 'SNAPSHOT_MISMATCH',
    });
    const path = join(place('forged'), 'snapshot.json');
    writeFileSync(
      path,
      readFileSync(path, 'utf8').replace(`"version":${version}`, `"version":${version - 1}`),
    );
    await expect(restore('forged')).rejects.toMatchObject({ code: 'SNAPSHOT_MISMATCH' });
  });

  it('with something else in place of a file are refused, and nothing is waited for', async () => {
    cpSync(place('good'), place('odd'), { recursive: true });
    for (const name of ['memory.bin', 'snapshot.json']) {
      renameSync(join(place('odd'), name), place('kept'));
      cpSync(place('good'), join(place('odd'), name), { recursive: true });
      await expect(restore('odd')).rejects.toMatchObject({ code: 'INVALID_SNAPSHOT' });
      rmSync(join(place('odd'), name), { recursive: true });
      renameSync(place('kept'), join(place('odd'), name));
    }
    await using vm = await restore('odd');
    expect(vm.state).toBe('paused');
  });
});
