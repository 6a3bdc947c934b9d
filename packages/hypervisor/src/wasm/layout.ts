import { HypervisorUnavailableError } from '../errors.ts';
import type { WasmGlobal } from './webassembly.ts';

/** Constants of `assembly/layout.ts` that the backend uses; the engine exports them as globals. */
const NAMES = [
  'HEADER',
  'GIC',
  'VCPU_BASE',
  'VCPU_STRIDE',
  'MAX_VCPUS',
  'RAM_BASE',
  'HEADER_REGION_COUNT',
  'HEADER_CLOCK_MODE',
  'HEADER_OWNER_WAKE',
  'HEADER_VCPU_COUNT',
  'HEADER_DIRTY_LOG',
  'DIRTY_LOG',
  'DIRTY_LOG_SIZE',
  'HEADER_CLOCK',
  'HEADER_REGIONS',
  'REGION_STRIDE',
  'MAX_REGIONS',
  'REGION_BASE',
  'REGION_SIZE',
  'REGION_OFFSET',
  'REGION_FLAGS',
  'REGION_READ_ONLY',
  'HEADER_DOORBELLS',
  'DOORBELL_STRIDE',
  'MAX_DOORBELLS',
  'DOORBELL_ADDRESS',
  'DOORBELL_LENGTH',
  'DOORBELL_FLAGS',
  'DOORBELL_MATCH',
  'DOORBELL_ACTIVE',
  'DOORBELL_HAS_MATCH',
  'HEADER_DOORBELL_PENDING',
  'HEADER_COALESCED',
  'COALESCED_STRIDE',
  'MAX_COALESCED',
  'COALESCED_ADDRESS',
  'COALESCED_LENGTH',
  'COALESCED_FLAGS',
  'HEADER_SHADOWS',
  'SHADOW_STRIDE',
  'MAX_SHADOWS',
  'SHADOW_ADDRESS',
  'SHADOW_VALUE',
  'SHADOW_FLAGS',
  'HEADER_COALESCED_HEAD',
  'HEADER_COALESCED_TAIL',
  'HEADER_COALESCED_RING',
  'COALESCED_RING_ENTRIES',
  'COALESCED_RING_STRIDE',
  'RING_ADDRESS',
  'RING_LENGTH',
  'RING_VALUE',
  'HEADER_GIC_ENABLED',
  'HEADER_GIC_IRQS',
  'HEADER_GIC_VCPUS',
  'HEADER_GIC_DISTRIBUTOR',
  'HEADER_GIC_REDISTRIBUTOR',
  'HEADER_SPI_LEVEL',
  'HEADER_SPI_EDGE',
  'HEADER_BACKEND',
  'GIC_STATE_SIZE',
  'CPU_INSTRUCTIONS',
  'CPU_ATTENTION',
  'CPU_KICK',
  'CPU_SLOT_STATE',
  'CPU_POWER',
  'CPU_RUNNING',
  'EXIT_REASON',
  'EXIT_LENGTH',
  'EXIT_ADDRESS',
  'EXIT_VALUE',
  'EXIT_WRITE',
  'EXIT_DETAIL',
  'MMIO_COUNT',
  'MMIO_CURSOR',
  'MMIO_OPEN',
  'MMIO_LOG',
  'MMIO_LOG_ENTRIES',
  'MMIO_LOG_STRIDE',
  'LOG_ADDRESS',
  'LOG_LENGTH',
  'LOG_WRITE',
  'EXIT_MMIO',
  'EXIT_HALT',
  'EXIT_INTERRUPTED',
  'EXIT_SHUTDOWN',
  'EXIT_RESET',
  'EXIT_ERROR',
  'EXIT_POWERED_OFF',
  'ERROR_MMIO_LOG_FULL',
] as const;

/** Places in the engine's memory, in bytes, and its limits (ENGINE.md, "Memory"). */
export type EngineLayout = Readonly<Record<(typeof NAMES)[number], number>>;

/** @throws HypervisorUnavailableError when the engine was built from another layout. */
export function readLayout(exports: Readonly<Record<string, unknown>>): EngineLayout {
  const entries = NAMES.map((name) => {
    const exported = exports[name];
    const value = isGlobal(exported) ? exported.value : undefined;
    if (typeof value !== 'number') {
      throw new HypervisorUnavailableError(
        `the engine does not export ${name}: engine.wasm and this package are of different versions`,
      );
    }
    return [name, value >>> 0] as const;
  });
  return Object.fromEntries(entries) as EngineLayout;
}

function isGlobal(value: unknown): value is WasmGlobal {
  return typeof value === 'object' && value !== null && 'value' in value;
}
