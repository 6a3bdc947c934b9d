import { counter, setCounter } from './clock';
import {
  ACTLR_EL1, AFSR0_EL1, AFSR1_EL1, AIDR_EL1, AMAIR_EL1, CCSIDR_EL1, CLIDR_EL1, CNTFRQ_EL0, CNTKCTL_EL1, CNTPCT_EL0,
  CNTP_CTL_EL0, CNTP_CVAL_EL0, CNTP_TVAL_EL0, CNTVCT_EL0, CNTV_CTL_EL0, CNTV_CVAL_EL0, CNTV_TVAL_EL0, CONTEXTIDR_EL1,
  CPACR_EL1, CSSELR_EL1, CTR_EL0, CURRENTEL, DAIF, DBGAUTHSTATUS_EL1, DBGCLAIMCLR_EL1, DBGCLAIMSET_EL1, DBGDTRRX_EL0,
  DBGDTR_EL0, DBGPRCR_EL1, DCZID_EL0, ELR_EL1, ESR_EL1, FAR_EL1, FPCR, FPSR, ISR_EL1, MAIR_EL1,
  MDCCINT_EL1, MDCCSR_EL0, MDRAR_EL1, MDSCR_EL1, MIDR_EL1, MPIDR_EL1, NZCV, OSDLR_EL1, OSDTRRX_EL1, OSDTRTX_EL1, OSECCR_EL1,
  OSLAR_EL1, OSLSR_EL1, PAR_EL1, REVIDR_EL1, RVBAR_EL1, SCTLR_EL1, SPSEL, SPSR_EL1, SP_EL0, TCR_EL1, TPIDRRO_EL0, TPIDR_EL0,
  TPIDR_EL1, TTBR0_EL1, TTBR1_EL1, VBAR_EL1,
} from './encodings';
import { getBankedSp, setBankedSp, setMode, updateDerived } from './exceptions';
import { pendingInterrupts } from './interrupts';
import { gicSystemAccess, gicSystemRead, gicSystemWrite } from './gic';
import { cacheSize, identification } from './identification';
import {
  CPU_DAIF, CPU_EL, CPU_FPCR, CPU_FPSR, CPU_SPSEL, HEADER, HEADER_GIC_ENABLED, SYS_ACTLR, SYS_AFSR0, SYS_AFSR1,
  SYS_AMAIR, SYS_CNTKCTL, SYS_CNTP_CTL, SYS_CNTP_CVAL, SYS_CNTV_CTL, SYS_CNTV_CVAL, SYS_CONTEXTIDR, SYS_CPACR,
  SYS_CSSELR, SYS_DEBUG, SYS_ELR, SYS_ESR, SYS_FAR, SYS_MAIR, SYS_MDCCINT, SYS_MDSCR, SYS_MPIDR, SYS_OSDLR,
  SYS_OSDTRRX, SYS_OSECCR, SYS_OSLSR, SYS_PAR, SYS_SCTLR, SYS_SPSR, SYS_TCR, SYS_TPIDRRO_EL0, SYS_TPIDR_EL0,
  SYS_TPIDR_EL1, SYS_TTBR0, SYS_TTBR1, SYS_VBAR,
} from './layout';
import { getNZCV, setNZCV } from './state';
import { LEAVE, NEXT, RESYNC } from './status';
import { timerCompare, timerControl, timerUpdate, timerValue } from './timer';
import { flushAll, selectBank } from './tlb';

/** Bits of SCTLR_EL1 that read as one in Armv8.0 (Arm ARM D17.2.118), with EL1 only. */
const SCTLR_RES1: u64 = 0x30d00800;
/** M A C SA SA0 UMA I DZE UCT nTWI nTWE WXN UCI. */
const SCTLR_WRITABLE: u64 = 0x040dd21f;
const SCTLR_TRANSLATION: u64 = 0x00080003;
const CPACR_WRITABLE: u64 = 0x00300000;
const CNTKCTL_WRITABLE: u64 = 0x3ff;
const FPCR_WRITABLE: u32 = 0x07c00000;
const FPSR_WRITABLE: u32 = 0x0800009f;
const TIMER_WRITABLE: u64 = 3;
const OSLSR_IMPLEMENTED: u64 = 8;
const OSLSR_LOCKED: u64 = 2;
const FREQUENCY: u64 = 62500000;

/** Whether an encoding is an identification register (Arm ARM D12.3.1), allocated or reserved. */
function isIdentification(encoding: u32): bool {
  // op0 3, op1 0, CRn 0; CRm 0 has three of them, CRm 1…7 are all reserved for them.
  if (encoding >> 7 != 0x180) return false;
  const crm = (encoding >> 3) & 15;
  return crm == 0 ? encoding == MIDR_EL1 || encoding == REVIDR_EL1 : crm < 8;
}

/** Whether an encoding is one of the PMU's. There is none: they read as zero and ignore what is stored. */
function isPmu(encoding: u32): bool {
  const group = encoding >> 7;
  const crm = (encoding >> 3) & 15;
  // CRn 9, CRm 12…14 with op1 0 and 3, and CRn 14, CRm 8…15 with op1 3.
  return ((group == 0x189 || group == 0x1b9) && crm >= 12 && crm <= 14) || (group == 0x1be && crm >= 8);
}

/** MDCCSR_EL0, DBGDTR_EL0, DBGDTRRX_EL0 (and DBGDTRTX_EL0). */
export function isDebugChannel(encoding: u32): bool {
  return encoding == MDCCSR_EL0 || encoding == DBGDTR_EL0 || encoding == DBGDTRRX_EL0;
}

/** DBGBVRn, DBGBCRn, DBGWVRn, DBGWCRn. */
function isDebugPair(encoding: u32): bool {
  return encoding >> 7 == 0x100 && (encoding & 7) >= 4;
}

/** Offset of DBGBVRn … DBGWCRn in the vCPU block: 16 of each. */
function debugOffset(encoding: u32): u32 {
  return SYS_DEBUG + ((((encoding >> 3) & 15) << 2) + (encoding & 3)) * 8;
}

/** How many of a kind there are: 6 breakpoints, 4 watchpoints. */
function debugExists(encoding: u32): bool {
  return ((encoding >> 3) & 15) < ((encoding & 2) ? 4 : 6);
}

/** As `gicSystemAccess`, where there is a GIC. */
function gicAccess(encoding: u32): u32 {
  return load<u32>(HEADER, HEADER_GIC_ENABLED) ? gicSystemAccess(encoding) : 0;
}

/** What `readSystemRegister` found. */
export let systemValue: u64 = 0;

function found(value: u64): bool {
  systemValue = value;
  return true;
}

/** Reads a register into `systemValue`; false when there is none of this encoding. Knows no exception levels. */
export function readSystemRegister(cpu: usize, encoding: u32): bool {
  switch (encoding) {
    case SCTLR_EL1: return found(load<u64>(cpu, SYS_SCTLR));
    case ACTLR_EL1: return found(load<u64>(cpu, SYS_ACTLR));
    case CPACR_EL1: return found(load<u64>(cpu, SYS_CPACR));
    case TTBR0_EL1: return found(load<u64>(cpu, SYS_TTBR0));
    case TTBR1_EL1: return found(load<u64>(cpu, SYS_TTBR1));
    case TCR_EL1: return found(load<u64>(cpu, SYS_TCR));
    case SPSR_EL1: return found(load<u64>(cpu, SYS_SPSR));
    case ELR_EL1: return found(load<u64>(cpu, SYS_ELR));
    case SP_EL0: return found(getBankedSp(cpu, 0));
    case SPSEL: return found(<u64>load<u32>(cpu, CPU_SPSEL));
    case CURRENTEL: return found(<u64>load<u32>(cpu, CPU_EL) << 2);
    case AFSR0_EL1: return found(load<u64>(cpu, SYS_AFSR0));
    case AFSR1_EL1: return found(load<u64>(cpu, SYS_AFSR1));
    case ESR_EL1: return found(load<u64>(cpu, SYS_ESR));
    case FAR_EL1: return found(load<u64>(cpu, SYS_FAR));
    case PAR_EL1: return found(load<u64>(cpu, SYS_PAR));
    case MAIR_EL1: return found(load<u64>(cpu, SYS_MAIR));
    case AMAIR_EL1: return found(load<u64>(cpu, SYS_AMAIR));
    case VBAR_EL1: return found(load<u64>(cpu, SYS_VBAR));
    case ISR_EL1: return found(<u64>pendingInterrupts(cpu));
    case CONTEXTIDR_EL1: return found(load<u64>(cpu, SYS_CONTEXTIDR));
    case TPIDR_EL0: return found(load<u64>(cpu, SYS_TPIDR_EL0));
    case TPIDRRO_EL0: return found(load<u64>(cpu, SYS_TPIDRRO_EL0));
    case TPIDR_EL1: return found(load<u64>(cpu, SYS_TPIDR_EL1));
    case CNTKCTL_EL1: return found(load<u64>(cpu, SYS_CNTKCTL));
    case CCSIDR_EL1: return found(cacheSize(load<u64>(cpu, SYS_CSSELR)));
    case CSSELR_EL1: return found(load<u64>(cpu, SYS_CSSELR));
    case NZCV: return found(<u64>getNZCV(cpu));
    case DAIF: return found(<u64>load<u32>(cpu, CPU_DAIF));
    case FPCR: return found(<u64>load<u32>(cpu, CPU_FPCR));
    case FPSR: return found(<u64>load<u32>(cpu, CPU_FPSR));
    case CNTFRQ_EL0: return found(FREQUENCY);
    case CNTPCT_EL0:
    case CNTVCT_EL0: return found(counter(cpu));
    case CNTP_TVAL_EL0: return found(timerValue(cpu, load<u64>(cpu, SYS_CNTP_CVAL)));
    case CNTP_CTL_EL0: return found(timerControl(cpu, load<u64>(cpu, SYS_CNTP_CTL), load<u64>(cpu, SYS_CNTP_CVAL)));
    case CNTP_CVAL_EL0: return found(load<u64>(cpu, SYS_CNTP_CVAL));
    case CNTV_TVAL_EL0: return found(timerValue(cpu, load<u64>(cpu, SYS_CNTV_CVAL)));
    case CNTV_CTL_EL0: return found(timerControl(cpu, load<u64>(cpu, SYS_CNTV_CTL), load<u64>(cpu, SYS_CNTV_CVAL)));
    case CNTV_CVAL_EL0: return found(load<u64>(cpu, SYS_CNTV_CVAL));
    case MPIDR_EL1: return found(load<u64>(cpu, SYS_MPIDR));
    case MDSCR_EL1: return found(load<u64>(cpu, SYS_MDSCR));
    case MDCCINT_EL1: return found(load<u64>(cpu, SYS_MDCCINT));
    case OSDTRRX_EL1: return found(load<u64>(cpu, SYS_OSDTRRX));
    case OSECCR_EL1: return found(load<u64>(cpu, SYS_OSECCR));
    case OSLSR_EL1: return found(load<u64>(cpu, SYS_OSLSR) | OSLSR_IMPLEMENTED);
    case OSDLR_EL1: return found(load<u64>(cpu, SYS_OSDLR));
    case CTR_EL0:
    case DCZID_EL0:
    case CLIDR_EL1: return found(identification(encoding));
    case AIDR_EL1:
    case RVBAR_EL1:
    case OSDTRTX_EL1:
    case MDRAR_EL1:
    case DBGPRCR_EL1:
    case DBGCLAIMSET_EL1:
    case DBGCLAIMCLR_EL1:
    case DBGAUTHSTATUS_EL1:
    case MDCCSR_EL0:
    case DBGDTR_EL0:
    case DBGDTRRX_EL0: return found(0);
    default:
  }
  if (isIdentification(encoding)) return found(identification(encoding));
  if (isDebugPair(encoding)) {
    return debugExists(encoding) && found(load<u64>(cpu + debugOffset(encoding)));
  }
  if (gicAccess(encoding) & 1) return found(gicSystemRead(cpu, encoding));
  return isPmu(encoding) && found(0);
}

/** The value was taken and nothing else changes. */
const WRITTEN: u32 = NEXT;
/** There is no writable register of this encoding. */
export const NOT_WRITABLE: u32 = 0xff;

function writeTranslation(cpu: usize): u32 {
  selectBank(cpu);
  updateDerived(cpu);
  return RESYNC;
}

function writeTimer(cpu: usize): u32 {
  timerUpdate(cpu);
  return LEAVE;
}

/** Writes a register; returns a status, or NOT_WRITABLE. Knows no exception levels. */
export function writeSystemRegister(cpu: usize, encoding: u32, value: u64): u32 {
  switch (encoding) {
    case SCTLR_EL1: {
      const old = load<u64>(cpu, SYS_SCTLR);
      store<u64>(cpu, (value & SCTLR_WRITABLE) | SCTLR_RES1, SYS_SCTLR);
      if ((old ^ value) & SCTLR_TRANSLATION) flushAll(cpu);
      updateDerived(cpu);
      return RESYNC;
    }
    case CPACR_EL1: {
      store<u64>(cpu, value & CPACR_WRITABLE, SYS_CPACR);
      updateDerived(cpu);
      return RESYNC;
    }
    case TTBR0_EL1: {
      store<u64>(cpu, value, SYS_TTBR0);
      return writeTranslation(cpu);
    }
    case TTBR1_EL1: {
      store<u64>(cpu, value, SYS_TTBR1);
      return writeTranslation(cpu);
    }
    case TCR_EL1: {
      if (load<u64>(cpu, SYS_TCR) != value) flushAll(cpu);
      store<u64>(cpu, value, SYS_TCR);
      return writeTranslation(cpu);
    }
    case MAIR_EL1: {
      // Whether a mapping is Device decides what the TLB may hold.
      if (load<u64>(cpu, SYS_MAIR) != value) flushAll(cpu);
      store<u64>(cpu, value, SYS_MAIR);
      return RESYNC;
    }
    case SP_EL0: {
      setBankedSp(cpu, 0, value);
      return RESYNC;
    }
    case SPSEL: {
      setMode(cpu, load<u32>(cpu, CPU_EL), <u32>value & 1);
      return RESYNC;
    }
    case DAIF: {
      const daif = <u32>value & 0x3c0;
      const unmasked = load<u32>(cpu, CPU_DAIF) & ~daif;
      store<u32>(cpu, daif, CPU_DAIF);
      return unmasked & pendingInterrupts(cpu) ? LEAVE : NEXT;
    }
    case NZCV: {
      setNZCV(cpu, <u32>value);
      return WRITTEN;
    }
    case FPCR: {
      store<u32>(cpu, <u32>value & FPCR_WRITABLE, CPU_FPCR);
      return WRITTEN;
    }
    case FPSR: {
      store<u32>(cpu, <u32>value & FPSR_WRITABLE, CPU_FPSR);
      return WRITTEN;
    }
    case CNTP_TVAL_EL0: {
      store<u64>(cpu, timerCompare(cpu, value), SYS_CNTP_CVAL);
      return writeTimer(cpu);
    }
    case CNTP_CTL_EL0: {
      store<u64>(cpu, value & TIMER_WRITABLE, SYS_CNTP_CTL);
      return writeTimer(cpu);
    }
    case CNTP_CVAL_EL0: {
      store<u64>(cpu, value, SYS_CNTP_CVAL);
      return writeTimer(cpu);
    }
    case CNTV_TVAL_EL0: {
      store<u64>(cpu, timerCompare(cpu, value), SYS_CNTV_CVAL);
      return writeTimer(cpu);
    }
    case CNTV_CTL_EL0: {
      store<u64>(cpu, value & TIMER_WRITABLE, SYS_CNTV_CTL);
      return writeTimer(cpu);
    }
    case CNTV_CVAL_EL0: {
      store<u64>(cpu, value, SYS_CNTV_CVAL);
      return writeTimer(cpu);
    }
    case OSLAR_EL1: {
      store<u64>(cpu, (value & 1) ? OSLSR_LOCKED : 0, SYS_OSLSR);
      return WRITTEN;
    }
    case ACTLR_EL1: { store<u64>(cpu, value, SYS_ACTLR); return WRITTEN; }
    case SPSR_EL1: { store<u64>(cpu, value & 0xffffffff, SYS_SPSR); return WRITTEN; }
    case ELR_EL1: { store<u64>(cpu, value, SYS_ELR); return WRITTEN; }
    case AFSR0_EL1: { store<u64>(cpu, value & 0xffffffff, SYS_AFSR0); return WRITTEN; }
    case AFSR1_EL1: { store<u64>(cpu, value & 0xffffffff, SYS_AFSR1); return WRITTEN; }
    case ESR_EL1: { store<u64>(cpu, value & 0xffffffff, SYS_ESR); return WRITTEN; }
    case FAR_EL1: { store<u64>(cpu, value, SYS_FAR); return WRITTEN; }
    case PAR_EL1: { store<u64>(cpu, value, SYS_PAR); return WRITTEN; }
    case AMAIR_EL1: { store<u64>(cpu, value, SYS_AMAIR); return WRITTEN; }
    case VBAR_EL1: { store<u64>(cpu, value & ~<u64>0x7ff, SYS_VBAR); return WRITTEN; }
    case CONTEXTIDR_EL1: { store<u64>(cpu, value & 0xffffffff, SYS_CONTEXTIDR); return WRITTEN; }
    case TPIDR_EL0: { store<u64>(cpu, value, SYS_TPIDR_EL0); return WRITTEN; }
    case TPIDRRO_EL0: { store<u64>(cpu, value, SYS_TPIDRRO_EL0); return WRITTEN; }
    case TPIDR_EL1: { store<u64>(cpu, value, SYS_TPIDR_EL1); return WRITTEN; }
    case CNTKCTL_EL1: { store<u64>(cpu, value & CNTKCTL_WRITABLE, SYS_CNTKCTL); return WRITTEN; }
    case CSSELR_EL1: { store<u64>(cpu, value & 15, SYS_CSSELR); return WRITTEN; }
    case MDSCR_EL1: { store<u64>(cpu, value & 0xffffffff, SYS_MDSCR); return WRITTEN; }
    case MDCCINT_EL1: { store<u64>(cpu, value & 0xffffffff, SYS_MDCCINT); return WRITTEN; }
    case OSDTRRX_EL1: { store<u64>(cpu, value & 0xffffffff, SYS_OSDTRRX); return WRITTEN; }
    case OSECCR_EL1: { store<u64>(cpu, value & 0xffffffff, SYS_OSECCR); return WRITTEN; }
    case OSDLR_EL1: { store<u64>(cpu, value & 1, SYS_OSDLR); return WRITTEN; }
    // The highest exception level may write the frequency, which changes nothing but what is read.
    case CNTFRQ_EL0:
    case OSDTRTX_EL1:
    case DBGPRCR_EL1:
    case DBGCLAIMSET_EL1:
    case DBGCLAIMCLR_EL1:
    case DBGDTR_EL0:
    case DBGDTRRX_EL0: return WRITTEN;
    default:
  }
  if (isDebugPair(encoding)) {
    if (!debugExists(encoding)) return NOT_WRITABLE;
    store<u64>(cpu + debugOffset(encoding), value);
    return WRITTEN;
  }
  if (gicAccess(encoding) & 2) {
    gicSystemWrite(cpu, encoding, value);
    return pendingInterrupts(cpu) ? LEAVE : NEXT;
  }
  return isPmu(encoding) ? WRITTEN : NOT_WRITABLE;
}

/** Host access: also sets what the guest cannot write. */
export function setSystemRegisterByHost(cpu: usize, encoding: u32, value: u64): bool {
  switch (encoding) {
    case MPIDR_EL1: {
      store<u64>(cpu, value, SYS_MPIDR);
      return true;
    }
    case CNTPCT_EL0:
    case CNTVCT_EL0: {
      setCounter(cpu, value);
      return true;
    }
    case OSLSR_EL1: {
      store<u64>(cpu, value & OSLSR_LOCKED, SYS_OSLSR);
      return true;
    }
    default:
  }
  if (writeSystemRegister(cpu, encoding, value) != NOT_WRITABLE) return true;
  // Identification registers take the value that they have.
  return readSystemRegister(cpu, encoding) && systemValue == value;
}
