import { concat, littleEndian } from './aml.ts';
import { buildSdt } from './sdt.ts';

const MCFG_REVISION = 1;

/** Memory-mapped configuration space of a PCI segment. */
export interface PciConfigSpace {
  readonly segment: number;
  /** Guest physical address of bus 0's, even when the segment starts at a later bus. */
  readonly address: number;
  readonly firstBus: number;
  readonly lastBus: number;
}

/** MCFG: where PCI configuration space is mapped (PCI Firmware Specification 3.3 §4.1.2). */
export function buildMcfg(spaces: readonly PciConfigSpace[]): Uint8Array {
  return buildSdt(
    'MCFG',
    MCFG_REVISION,
    new Uint8Array(8),
    ...spaces.map(({ address, segment, firstBus, lastBus }) =>
      concat(littleEndian(address, 8), littleEndian(segment, 2), [firstBus, lastBus], new Uint8Array(4)),
    ),
  );
}
