export { FileBlockBackend } from './file-backend.ts';
export type { FileBlockBackendOptions, FileBlockIo } from './file-backend.ts';
