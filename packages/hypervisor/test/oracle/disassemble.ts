import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CODE_BASE } from './state.ts';

/** One line of a listing: mnemonic and operands, or `.inst` for what objdump does not know. */
export interface Disassembled {
  readonly mnemonic: string;
  readonly text: string;
}

/** Disassembles words that stand at an address. */
export function disassemble(words: readonly number[], address: number = CODE_BASE): Disassembled[] {
  const folder = mkdtempSync(join(tmpdir(), 'vmm-oracle-'));
  try {
    const file = join(folder, 'words.bin');
    writeFileSync(file, new Uint8Array(new Uint32Array(words).buffer));
    const { stdout, error } = spawnSync(
      'aarch64-linux-gnu-objdump',
      ['-D', '-z', '-b', 'binary', '-m', 'aarch64', `--adjust-vma=${address}`, file],
      { encoding: 'utf8', maxBuffer: 2 ** 30 },
    );
    if (error)
      throw new Error(
        'aarch64-linux-gnu-objdump is needed: install Debian package binutils-aarch64-linux-gnu',
        { cause: error },
      );
    const lines = [...stdout.matchAll(/^\s*[0-9a-f]+:\t[0-9a-f]{8} \t(.*)$/gm)].map((match) => {
      const text = (match[1] ?? '').replaceAll('\t', ' ');
      return { text, mnemonic: text.split(' ')[0] ?? '' };
    });
    if (lines.length !== words.length)
      throw new Error(`objdump listed ${lines.length} of ${words.length} words`);
    return lines;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
