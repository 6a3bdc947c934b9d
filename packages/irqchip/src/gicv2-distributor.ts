import { lowestBit, SGI_COUNT, type GicV2Core } from './gicv2-core.ts';
import * as R from './gicv2-registers.ts';
import { SPI_BASE } from './gic.ts';

/** Bit b of the half word goes to bit 2 b + 1, as GICD_ICFGR shows it. */
function spread(half: number): number {
  let word = 0;
  for (let bit = 0; bit < 16; bit++) word |= ((half >>> bit) & 1) << (2 * bit + 1);
  return word >>> 0;
}

function gather(word: number): number {
  let half = 0;
  for (let bit = 0; bit < 16; bit++) half |= ((word >>> (2 * bit + 1)) & 1) << bit;
  return half;
}

/** Registers that are bytes, and may be accessed as such (§4.1.4). */
function isByteArray(offset: number): boolean {
  return (
    (offset >= R.GICD_IPRIORITYR && offset < R.GICD_ICFGR) ||
    (offset >= R.GICD_CPENDSGIR && offset < R.GICD_SPENDSGIR_END)
  );
}

/** Reads a distributor register as a CPU sees it (IHI 0048 §4.3). */
export function distributorRead(gic: GicV2Core, cpu: number, offset: number, length: 1 | 2 | 4): number {
  if (isByteArray(offset)) {
    if (length === 2 || offset % length !== 0) return 0;
    let value = 0;
    for (let i = 0; i < length; i++) value |= readByte(gic, cpu, offset + i) << (8 * i);
    return value >>> 0;
  }
  if (length !== 4 || offset % 4 !== 0) return 0;
  if (offset >= R.GICD_PIDR4 && offset < R.GICD_SIZE) {
    return R.IDENTIFICATION[(offset - R.GICD_PIDR4) >> 2]!;
  }
  if (offset >= R.GICD_ICFGR && offset < R.GICD_ICFGR_END) {
    const word = (offset - R.GICD_ICFGR) >> 3;
    if (word >= gic.words) return 0;
    return spread(gic.edge[gic.record(cpu, word)]! >>> ((offset & 4) << 2));
  }
  switch (offset) {
    case R.GICD_CTLR:
      return gic.control;
    case R.GICD_TYPER:
      return (gic.words - 1) | ((gic.cpus - 1) << 5);
    case R.GICD_IIDR:
      return R.GICD_IIDR_VALUE;
  }
  const word = (offset & 0x7f) >> 2;
  if (offset < R.GICD_IGROUPR || offset >= R.GICD_IPRIORITYR || word >= gic.words) return 0;
  const record = gic.record(cpu, word);
  if (offset < R.GICD_ISENABLER) return gic.group[record]!;
  if (offset < R.GICD_ISPENDR) return gic.enable[record]!;
  if (offset < R.GICD_ISACTIVER) return gic.pending(record);
  return gic.active[record]!;
}

/** Writes a distributor register as a CPU does. */
export function distributorWrite(
  gic: GicV2Core,
  cpu: number,
  offset: number,
  length: 1 | 2 | 4,
  value: number,
): void {
  if (isByteArray(offset)) {
    if (length === 2 || offset % length !== 0) return;
    for (let i = 0; i < length; i++) writeByte(gic, cpu, offset + i, (value >>> (8 * i)) & 0xff);
  } else if (length !== 4 || offset % 4 !== 0) return;
  else if (offset === R.GICD_CTLR) gic.control = value & R.CTLR_ENABLE_GRP;
  else if (offset === R.GICD_SGIR) writeSgir(gic, cpu, value);
  else if (offset >= R.GICD_ICFGR && offset < R.GICD_ICFGR_END) writeConfiguration(gic, cpu, offset, value);
  else if (offset >= R.GICD_IGROUPR && offset < R.GICD_IPRIORITYR) writeBits(gic, cpu, offset, value);
  else return;
  gic.evaluateAll();
}

function readByte(gic: GicV2Core, cpu: number, offset: number): number {
  if (offset >= R.GICD_CPENDSGIR) return gic.sgiSources[cpu * SGI_COUNT + (offset & 15)]!;
  const intid = offset & 0x3ff;
  if (intid >= gic.irqs) return 0;
  if (offset < R.GICD_ITARGETSR) return gic.priority[gic.priorityIndex(cpu, intid)]!;
  // In a uniprocessor implementation they are RAZ/WI (§4.3.12).
  if (gic.cpus === 1) return 0;
  return intid < SPI_BASE ? 1 << cpu : gic.targets[intid]!;
}

function writeByte(gic: GicV2Core, cpu: number, offset: number, value: number): void {
  if (offset >= R.GICD_CPENDSGIR) {
    const sgi = offset & 15;
    const at = cpu * SGI_COUNT + sgi;
    const sources = value & (2 ** gic.cpus - 1);
    if (offset < R.GICD_SPENDSGIR) gic.sgiSources[at]! &= ~sources;
    else gic.sgiSources[at]! |= sources;
    if (gic.sgiSources[at] === 0) gic.latch[cpu]! &= ~(1 << sgi);
    else gic.latch[cpu]! |= 1 << sgi;
    return;
  }
  const intid = offset & 0x3ff;
  if (intid >= gic.irqs) return;
  if (offset < R.GICD_ITARGETSR) gic.priority[gic.priorityIndex(cpu, intid)] = value & R.PRIORITY_MASK;
  else if (intid >= SPI_BASE && gic.cpus > 1) gic.targets[intid] = value & (2 ** gic.cpus - 1);
}

function writeSgir(gic: GicV2Core, cpu: number, value: number): void {
  const sgi = value & 15;
  const filter = (value >>> 24) & 3;
  const others = (2 ** gic.cpus - 1) & ~(1 << cpu);
  let targets = 0;
  if (filter === R.SGIR_LISTED) targets = (value >>> 16) & (2 ** gic.cpus - 1);
  else if (filter === R.SGIR_OTHERS) targets = others;
  else if (filter === R.SGIR_SELF) targets = 1 << cpu;
  for (; targets !== 0; targets &= targets - 1) gic.sendSgi(cpu, lowestBit(targets), sgi);
}

function writeConfiguration(gic: GicV2Core, cpu: number, offset: number, value: number): void {
  const word = (offset - R.GICD_ICFGR) >> 3;
  const shift = (offset & 4) << 2;
  // Those of SGIs are read-only.
  if (word >= gic.words || (word === 0 && shift === 0)) return;
  const record = gic.record(cpu, word);
  const others = gic.edge[record]! & ~(0xffff << shift);
  gic.edge[record] = (others | (gather(value) << shift)) & gic.recordMask(word);
}

function writeBits(gic: GicV2Core, cpu: number, offset: number, value: number): void {
  const word = (offset & 0x7f) >> 2;
  if (word >= gic.words) return;
  const record = gic.record(cpu, word);
  const bits = value & gic.recordMask(word);
  // The pending bits of SGIs are read-only here: GICD_SPENDSGIR and GICD_CPENDSGIR have them (§4.3.7).
  const pendable = word === 0 ? bits & ~0xffff : bits;
  if (offset < R.GICD_ISENABLER) gic.group[record] = bits;
  else if (offset < R.GICD_ICENABLER) gic.enable[record]! |= bits;
  else if (offset < R.GICD_ISPENDR) gic.enable[record]! &= ~bits;
  else if (offset < R.GICD_ICPENDR) gic.latch[record]! |= pendable;
  else if (offset < R.GICD_ISACTIVER) gic.latch[record]! &= ~pendable;
  else if (offset < R.GICD_ICACTIVER) gic.active[record]! |= bits;
  else gic.active[record]! &= ~bits;
}
