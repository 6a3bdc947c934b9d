import { HypervisorUnavailableError } from '../errors.ts';

/** A compiled module: only handed around. */
export interface WasmModule {
  readonly [Symbol.toStringTag]: string;
}

/** A memory that was created with `shared: true`. */
export interface WasmMemory {
  readonly buffer: SharedArrayBuffer;
}

/** An immutable global that a module exports. */
export interface WasmGlobal {
  readonly value: unknown;
}

/**
 * The part of the WebAssembly JavaScript API that is used here. TypeScript declares it in the DOM library only,
 * which has no place in a program that runs in Node.js as well.
 */
export interface WasmApi {
  compile(bytes: Uint8Array): Promise<WasmModule>;
  readonly Instance: new (
    module: WasmModule,
    imports: Readonly<Record<string, Readonly<Record<string, unknown>>>>,
  ) => { readonly exports: Readonly<Record<string, unknown>> };
  readonly Memory: new (descriptor: { initial: number; maximum: number; shared: true }) => WasmMemory;
}

/** Size of a page of WebAssembly memory. */
export const WASM_PAGE = 65536;

/** Most pages that a 32-bit memory has: 4 GiB. */
export const WASM_MAX_PAGES = 65536;

/** @throws HypervisorUnavailableError where there is no WebAssembly. */
export function webAssembly(): WasmApi {
  const api: unknown = Reflect.get(globalThis, 'WebAssembly');
  if (typeof api !== 'object' || api === null) {
    throw new HypervisorUnavailableError('this JavaScript engine has no WebAssembly');
  }
  return api as WasmApi;
}
