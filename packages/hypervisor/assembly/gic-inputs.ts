import { HEADER, HEADER_SPI_EDGE, HEADER_SPI_LEVEL } from './layout';
import { RECORD_EDGE, RECORD_LATCH, RECORD_LINE, gicRecord } from './gic-layout';
import { evaluateAll } from './gic-delivery';
import { gicRecordCount, gicRecordMask } from './gic-state';

/** Takes over the SPI inputs of one record; true when anything changed. */
function sampleRecord(n: u32): bool {
  const record = gicRecord(0, n);
  const mask = gicRecordMask(n);
  const level = atomic.load<u32>(HEADER + (n << 2), HEADER_SPI_LEVEL) & mask;
  const line = load<u32>(record, RECORD_LINE);
  let edges = level & ~line;
  if (atomic.load<u32>(HEADER + (n << 2), HEADER_SPI_EDGE) != 0) {
    edges |= atomic.xchg<u32>(HEADER + (n << 2), 0, HEADER_SPI_EDGE) & mask;
  }
  if (level == line && edges == 0) return false;
  store<u32>(record, level, RECORD_LINE);
  // A level-sensitive interrupt has no memory of a line that has fallen again.
  store<u32>(record, load<u32>(record, RECORD_LATCH) | (edges & load<u32>(record, RECORD_EDGE)), RECORD_LATCH);
  return true;
}

/** Takes over changes of the SPI inputs in the VM header. The lock is held. */
export function sampleInputs(): void {
  const count = gicRecordCount();
  let changed = false;
  for (let n: u32 = 1; n < count; n++) {
    if (sampleRecord(n)) changed = true;
  }
  if (changed) evaluateAll();
}
