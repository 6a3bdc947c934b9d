import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GuestMemory } from '@vmm/vm-memory';
import { same } from '../../test/support.ts';
import { writeResetVector } from './reset-vector.ts';

/** From Debian's binutils. */
const OBJDUMP = 'objdump';

const memoryOf = (size: number): GuestMemory =>
  new GuestMemory([{ guestAddress: 0, bytes: new Uint8Array(size) }]);

/** Instructions of real mode, one a line, by binutils. */
function disassemble(code: Uint8Array): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'vmm-objdump-'));
  try {
    const file = join(folder, 'code');
    writeFileSync(file, code);
    const { error, stdout } = spawnSync(
      OBJDUMP,
      ['-D', '-b', 'binary', '-m', 'i8086', '--no-show-raw-insn', file],
      { encoding: 'utf8' },
    );
    if (error !== undefined)
      throw new Error('this test needs objdump: apt-get install binutils', { cause: error });
    return [...stdout.matchAll(/^ *([0-9a-f]+):\s+(.*)$/gm)].map(
      ([, at = '', code = '']) => `${at} ${code.trim().replace(/\s+/g, ' ')}`,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe('writeResetVector', () => {
  it('has a processor that starts at F000:FFF0 write 1 to the reset register, and wait', () => {
    const memory = memoryOf(2 ** 20);
    writeResetVector(memory);
    expect(disassemble(memory.slice(0xffff0, 16)).slice(0, 6)).toEqual([
      '0 cli',
      '1 mov $0x602,%dx',
      '4 mov $0x1,%al',
      '6 out %al,(%dx)',
      '7 hlt',
      '8 jmp 0x7',
    ]);
  });

  it('touches nothing below', () => {
    const memory = memoryOf(2 ** 20);
    writeResetVector(memory);
    expect(same(memory.slice(0, 0xffff0), new Uint8Array(0xffff0))).toBe(true);
  });
});
