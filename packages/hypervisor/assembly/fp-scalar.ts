export function execScalarFp(cpu: usize, insn: u32): bool { return false; }
