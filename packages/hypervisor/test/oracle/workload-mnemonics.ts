/** Mnemonics that a boot of Debian's kernel to a shell and a start of Node in user space execute. */
export const WORKLOAD: readonly string[] = `
adc add addp adds addv adr adrp aese aesmc and ands asr autiasp b b.cc b.cs b.eq b.ge b.gt b.hi b.le b.ls
b.lt b.mi b.ne b.pl b.vc b.vs bfi bfxil bic bics bit bl blr br bsl bti cbnz cbz ccmn ccmp cinc cinv clz cmeq
cmhi cmhs cmn cmp cmtst cneg cnt crc32x csdb csel cset csetm csinc csinv csneg dc dmb dsb dup eon eor eret
ext extr fabs fadd fcmp fcmpe fcsel fcvt fcvtmu fcvtps fcvtzs fcvtzu fdiv fmadd fmin fmov fmul fneg frinti
frintm fsqrt fsub hvc ic isb ld1 ld1r ld3 ldar ldarb ldarh ldaxr ldaxrb ldp ldpsw ldr ldrb ldrh ldrsb ldrsh
ldrsw ldtr ldtrb ldtrh ldur ldurb ldurh ldursb ldursh ldursw ldxp ldxr ldxrb lsl lsr madd mov movi movk movz
mrs msr msub mul mvn mvni neg negs ngc nop orn orr paciasp prfm rbit ret rev rev16 rev32 rev64 ror sbc sbfiz
sbfx scvtf sdiv sha256h sha256h2 sha256su0 sha256su1 shl shrn smaddl smov smulh smull sshr st1 st2 st3 stlr
stlrb stlrh stlxp stlxr stlxrb stnp stp str strb strh sttr sttrb sttrh stur sturb sturh stxp stxr stxrb sub
subs svc sxtb sxth sxtw tbl tbnz tbz tlbi tst uaddw uaddw2 ubfiz ubfx ucvtf udiv umaddl umaxp umaxv uminp
umov umsubl umulh umull ushr uxtb uxtl uxtl2 uzp1 xpaclri xtn yield zip1 zip2
`
  .trim()
  .split(/\s+/);

/** Those of them that user mode cannot execute, or that leave the sequence: other tests are about them. */
export const WITHOUT_ORACLE: readonly string[] = ['eret', 'hvc', 'svc', 'tlbi'];
