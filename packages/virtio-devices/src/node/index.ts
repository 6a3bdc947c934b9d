export { FileBlockBackend } from './file-backend.ts';
export type { FileBlockBackendOptions } from './file-backend.ts';
