export function execFpThreeSame(cpu: usize, insn: u32, scalar: bool): bool { return false; }
export function execFpMisc(cpu: usize, insn: u32, scalar: bool): bool { return false; }
export function execFpByElement(cpu: usize, insn: u32, scalar: bool): bool { return false; }
export function execFpShift(cpu: usize, insn: u32, scalar: bool): bool { return false; }
export function execFpAcross(cpu: usize, insn: u32): bool { return false; }
export function execFpPairwise(cpu: usize, insn: u32): bool { return false; }
