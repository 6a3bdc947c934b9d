import { ArchError, aarch64 } from '@vmm/arch';
import { FileSource } from './files.ts';
import type { Architecture } from './machine/machine.ts';

/** "HdrS", magic of the x86 boot protocol's header (Linux Documentation/arch/x86/boot.rst), and where it is. */
const HDRS = 0x53726448;
const HDRS_OFFSET = 0x202;
const ELF_MAGIC = 0x464c457f;
/** `e_machine`, and its values (ELF gABI). */
const E_MACHINE_OFFSET = 18;
const EM_X86_64 = 62;

/**
 * The architecture that a kernel's format tells; undefined when it does not, such as when the kernel is compressed as a
 * whole. Whether it can be booted is the loader's to say.
 *
 * @throws VmmError `FILE_NOT_FOUND`, `FILE_UNREADABLE`
 */
export function kernelArchitecture(path: string): Architecture | undefined {
  using file = new FileSource(path, 'kernel');
  const head = new Uint8Array(Math.min(file.size, aarch64.HEAD_SIZE));
  file.read(0, head);
  return architectureOf(head, file.size);
}

/** As {@link kernelArchitecture}, for the first {@link aarch64.HEAD_SIZE} bytes of a file of `size` bytes. */
export function architectureOf(head: Uint8Array, size: number): Architecture | undefined {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  if (head.length >= HDRS_OFFSET + 4 && view.getUint32(HDRS_OFFSET, true) === HDRS) return 'x86_64';
  if (head.length > E_MACHINE_OFFSET + 2 && view.getUint32(0, true) === ELF_MAGIC) {
    return view.getUint16(E_MACHINE_OFFSET, true) === EM_X86_64 ? 'x86_64' : undefined;
  }
  try {
    const format = aarch64.identifyKernel(head, size);
    return format.kind === 'gzip' && !format.zboot ? undefined : 'aarch64';
  } catch (error) {
    if (error instanceof ArchError) return undefined;
    throw error;
  }
}
