import {
  HEADER, HEADER_REGION_COUNT, HEADER_REGIONS, REGION_BASE, REGION_FLAGS, REGION_OFFSET, REGION_READ_ONLY,
  REGION_SIZE, REGION_STRIDE,
} from './layout';

/** Whether the region that `physicalToHost` last found may be written. */
export let regionWritable: bool = false;

/** Memory offset of guest physical `address`, or 0 when no region holds it. */
export function physicalToHost(address: u64): usize {
  const count = load<u32>(HEADER, HEADER_REGION_COUNT);
  let region: usize = HEADER + HEADER_REGIONS;
  for (let i: u32 = 0; i < count; i++) {
    const delta = address - load<u64>(region, REGION_BASE);
    if (delta < load<u64>(region, REGION_SIZE)) {
      regionWritable = (load<u32>(region, REGION_FLAGS) & REGION_READ_ONLY) == 0;
      return load<u32>(region, REGION_OFFSET) + <u32>delta;
    }
    region += REGION_STRIDE;
  }
  return 0;
}
