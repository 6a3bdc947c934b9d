/**
 * Archives in the `newc` format that the kernel unpacks into its initial RAM filesystem
 * (Linux Documentation/driver-api/early-userspace/buffer-format). Several archives may follow one another.
 */

const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;

/** One entry of an archive; directories come before what they hold. */
export type CpioEntry =
  | { readonly type: 'directory'; readonly path: string; readonly mode?: number }
  | { readonly type: 'file'; readonly path: string; readonly data: Uint8Array; readonly mode?: number }
  | { readonly type: 'symlink'; readonly path: string; readonly target: string };

const encoder = new TextEncoder();
const ALIGNMENT = 4;
const HEADER_BYTES = 110;

function padded(length: number): number {
  return Math.ceil(length / ALIGNMENT) * ALIGNMENT;
}

function contentOf(entry: CpioEntry): { mode: number; data: Uint8Array } {
  switch (entry.type) {
    case 'directory':
      return { mode: S_IFDIR | (entry.mode ?? 0o755), data: new Uint8Array(0) };
    case 'file':
      return { mode: S_IFREG | (entry.mode ?? 0o644), data: entry.data };
    case 'symlink':
      return { mode: S_IFLNK | 0o777, data: encoder.encode(entry.target) };
  }
}

/**
 * Builds an archive. Inode numbers count from 1, owners are root and times are 0, so equal entries make
 * equal bytes.
 */
export function buildCpio(entries: readonly CpioEntry[]): Uint8Array {
  const members = entries.map((entry) => ({ name: entry.path.replace(/^\/+/, ''), ...contentOf(entry) }));
  members.push({ name: 'TRAILER!!!', mode: 0, data: new Uint8Array(0) });
  const named = members.map((member) => ({ ...member, nameBytes: encoder.encode(`${member.name}\0`) }));
  const total = named.reduce(
    (sum, { nameBytes, data }) => sum + padded(HEADER_BYTES + nameBytes.length) + padded(data.length),
    0,
  );
  const archive = new Uint8Array(total);
  let offset = 0;
  named.forEach(({ mode, data, nameBytes }, index) => {
    const fields = [index + 1, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, nameBytes.length, 0];
    const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
    archive.set(encoder.encode(header), offset);
    archive.set(nameBytes, offset + HEADER_BYTES);
    offset += padded(HEADER_BYTES + nameBytes.length);
    archive.set(data, offset);
    offset += padded(data.length);
  });
  return archive;
}
