export { aarch64Compliance } from './aarch64/index.ts';
export { Assembler, CONDITION, XZR } from './aarch64/assembler.ts';
export type { Condition } from './aarch64/assembler.ts';
export { x86Compliance } from './x86/index.ts';
export { RealModeAssembler, X86Assembler } from './x86/assembler.ts';
export type { RegisterName, X86Condition } from './x86/assembler.ts';
export { applies } from './suite.ts';
export type {
  Assertions,
  ComplianceContext,
  ComplianceFeature,
  ComplianceFile,
  ComplianceSuite,
  ComplianceTest,
} from './suite.ts';
