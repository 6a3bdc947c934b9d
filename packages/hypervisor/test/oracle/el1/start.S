/* Entry, vectors, and the instructions that program.c tries out. */

        .section .text.start, "ax"
        .globl  _start
_start: ldr     x0, =stack_top
        mov     sp, x0
        ldr     x0, =vectors
        msr     vbar_el1, x0
        isb
        bl      main
        ldr     w0, =0x84000008         /* PSCI SYSTEM_OFF */
        hvc     #0
        b       .

        .macro  vector number
        .balign 128
        msr     tpidr_el1, x0
        ldr     x0, =frame
        stp     x1, x2, [x0, #8]
        mov     x1, #\number
        b       taken
        .endm

        .balign 2048
vectors:
        vector  0x000
        vector  0x080
        vector  0x100
        vector  0x180
        vector  0x200
        vector  0x280
        vector  0x300
        vector  0x380
        vector  0x400
        vector  0x480
        vector  0x500
        vector  0x580
        vector  0x600
        vector  0x680
        vector  0x700
        vector  0x780

taken:  str     x1, [x0, #24]
        mrs     x1, tpidr_el1
        str     x1, [x0]
        mrs     x1, esr_el1
        mrs     x2, far_el1
        stp     x1, x2, [x0, #32]
        mrs     x1, elr_el1
        mrs     x2, spsr_el1
        stp     x1, x2, [x0, #48]
        ldr     x1, =context
        ldp     x19, x20, [x1, #0]
        ldp     x21, x22, [x1, #16]
        ldp     x23, x24, [x1, #32]
        ldp     x25, x26, [x1, #48]
        ldp     x27, x28, [x1, #64]
        ldp     x29, x30, [x1, #80]
        ldr     x2, [x1, #96]
        mov     sp, x2
        ret

/* attempt(spsr, pc, x0, x1, sp): goes there; returns after the exception that follows, with `frame` filled. */
        .globl  attempt
attempt:
        ldr     x9, =context
        stp     x19, x20, [x9, #0]
        stp     x21, x22, [x9, #16]
        stp     x23, x24, [x9, #32]
        stp     x25, x26, [x9, #48]
        stp     x27, x28, [x9, #64]
        stp     x29, x30, [x9, #80]
        mov     x10, sp
        str     x10, [x9, #96]
        msr     spsr_el1, x0
        msr     elr_el1, x1
        msr     sp_el0, x4
        /* EL1h takes SP from here too. */
        mov     sp, x4
        mov     x0, x2
        mov     x1, x3
        mov     x2, #0
        eret

        .macro  try name, words:vararg
        .globl  try_\name
try_\name:
        \words
        svc     #0x7000
        .endm

        .macro  translation operation
        .globl  try_at_\operation
try_at_\operation:
        at      \operation, x0
        isb
        mrs     x0, par_el1
        svc     #0x7000
        .endm

/* A page of its own: mapped for EL0 at another address. */
        .section .text.tries, "ax"
        .balign 4096
        .globl  tries
tries:
        try     nothing, nop
        try     ldr, ldr x0, [x0]
        try     ldrb, ldrb w0, [x0]
        try     str, str x1, [x0]
        try     ldp, ldp x1, x2, [x0]
        try     stp, stp x1, x1, [x0]
        try     ldtr, ldtr x0, [x0]
        try     sttr, sttr x1, [x0]
        try     ldxr, ldxr x0, [x0]
        try     ldar, ldar x0, [x0]
        try     stlr, stlr x1, [x0]
        try     ldr_q, ldr q0, [x0]
        try     ld1, ld1 {v0.2d, v1.2d}, [x0]
        try     ld1b, ld1 {v0.16b}, [x0]
        try     ldr_post, ldr x1, [x0], #8
        try     str_pre, str x1, [x0, #16]!
        try     ldr_sp, ldr x0, [sp]
        try     stp_sp, stp x0, x1, [sp, #-16]!
        try     prfm, prfm pldl1keep, [x0]
        try     zva, dc zva, x0
        try     cvac, dc cvac, x0
        try     cvau, dc cvau, x0
        try     civac, dc civac, x0
        try     ivac, dc ivac, x0
        try     ivau, ic ivau, x0
        try     iallu, ic iallu
        try     isw, dc isw, xzr
        try     tlbi, tlbi vmalle1
        try     branch, br x0
        try     call, blr x0
        try     svc, svc #0x1234
        try     hvc0, .inst 0xd4000002 | (0x77 << 5)
        try     smc, smc #0x88
        try     brk, brk #0xabc
        try     hlt, hlt #0x11
        try     dcps1, dcps1 #1
        try     dcps2, dcps2 #1
        try     dcps3, dcps3 #1
        try     drps, drps
        try     udf, .inst 0x00000000
        try     eret, eret
        try     wfi, wfi
        try     wfe, wfe
        try     daifset, msr daifset, #15
        try     daifclr, msr daifclr, #15
        try     spsel0, msr spsel, #0
        try     spsel1, msr spsel, #1
        try     mrs_daif, mrs x0, daif
        try     msr_daif, msr daif, x0
        try     mrs_currentel, mrs x0, currentel
        try     mrs_spsel, mrs x0, spsel
        try     mrs_ctr, mrs x0, ctr_el0
        try     mrs_dczid, mrs x0, dczid_el0
        try     mrs_cntvct, mrs x0, cntvct_el0
        try     mrs_cntpct, mrs x0, cntpct_el0
        try     mrs_cntfrq, mrs x0, cntfrq_el0
        try     mrs_cntv_ctl, mrs x0, cntv_ctl_el0
        try     mrs_cntp_ctl, mrs x0, cntp_ctl_el0
        try     msr_cntv_ctl, msr cntv_ctl_el0, x1
        try     msr_cntp_cval, msr cntp_cval_el0, x1
        try     msr_tpidr, msr tpidr_el0, x1
        try     msr_tpidrro, msr tpidrro_el0, x1
        try     mrs_midr, mrs x0, midr_el1
        try     mrs_sctlr, mrs x0, sctlr_el1
        try     msr_ttbr0, msr ttbr0_el1, x1
        try     msr_fpcr, msr fpcr, xzr
        try     mrs_fpsr, mrs x0, fpsr
        try     fadd, fadd d0, d0, d0
        try     movi, movi v0.16b, #0
        try     fmov, fmov x0, d0
        translation s1e1r
        translation s1e1w
        translation s1e0r
        translation s1e0w
        .balign 4096
        .globl  tries_end
tries_end:
