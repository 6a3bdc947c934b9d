import type { BlockBatch } from '../block/batch.ts';

/** How a {@link FileBlockBackend} reads and writes. Positions are those of the file. */
export interface FileIo {
  /** 'io_uring', 'threads' or 'portable'. */
  readonly name: string;
  submit(batch: BlockBatch): void | Promise<void>;
  /** fdatasync. */
  sync(): Promise<void>;
  /** Gives the storage of a range back; it reads as zeroes then. Absent: not possible. */
  punch?(position: number, length: number): Promise<void>;
  /** Stores zeroes. */
  zero?(position: number, length: number): Promise<void>;
  /** Waits for what is in flight. */
  drain(): Promise<void>;
  /** What is in flight fails with EBADF. */
  close(): void;
}

/** The file system has no such operation. */
export function isUnsupported(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === 'EOPNOTSUPP';
}
