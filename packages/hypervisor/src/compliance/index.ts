export { aarch64Compliance } from './aarch64/index.ts';
export { Assembler, CONDITION, XZR } from './aarch64/assembler.ts';
export type { Condition } from './aarch64/assembler.ts';
export { applies } from './suite.ts';
export type {
  Assertions,
  ComplianceContext,
  ComplianceFeature,
  ComplianceSuite,
  ComplianceTest,
} from './suite.ts';
