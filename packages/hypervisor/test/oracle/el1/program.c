/*
 * What user mode has no oracle for: exceptions and their syndromes, translation and permissions, traps, registers of
 * EL1. The same program runs on the engine and on an emulated machine, and writes what it saw as lines of text: the
 * test compares them. Each line is `what: outcome`.
 */
typedef unsigned int u32;
typedef unsigned long u64;

#define LOG ((char *)0x40800000)
#define UART ((volatile u32 *)0x09000000)

#define BIT(n) (1UL << (n))

#define READ(name)                                     \
  ({                                                   \
    u64 value_;                                        \
    __asm__ volatile("mrs %0, " #name : "=r"(value_)); \
    value_;                                            \
  })
#define WRITE(name, value) __asm__ volatile("msr " #name ", %0\n isb" : : "r"((u64)(value)) : "memory")

struct {
  u64 x0, x1, x2, vector, esr, far, elr, spsr;
} frame;
u64 context[13];
unsigned char stack[16384] __attribute__((aligned(16)));
__asm__(".globl stack_top\n .set stack_top, stack + 16384");

void attempt(u64 spsr, u64 pc, u64 x0, u64 x1, u64 sp);

extern char tries[], tries_end[];
#define TRY(name) extern char try_##name[]
TRY(nothing); TRY(ldr); TRY(ldrb); TRY(str); TRY(ldp); TRY(stp); TRY(ldtr); TRY(sttr); TRY(ldxr); TRY(ldar); TRY(stlr);
TRY(ldr_q); TRY(ld1); TRY(ld1b); TRY(ldr_post); TRY(str_pre); TRY(ldr_sp); TRY(stp_sp); TRY(prfm); TRY(zva); TRY(cvac);
TRY(cvau); TRY(civac); TRY(ivac); TRY(ivau); TRY(iallu); TRY(isw); TRY(tlbi); TRY(branch); TRY(call); TRY(svc);
TRY(hvc0); TRY(smc); TRY(brk); TRY(hlt); TRY(dcps1); TRY(dcps2); TRY(dcps3); TRY(drps); TRY(udf); TRY(eret); TRY(wfi);
TRY(wfe); TRY(daifset); TRY(daifclr); TRY(spsel0); TRY(spsel1); TRY(mrs_daif); TRY(msr_daif); TRY(mrs_currentel);
TRY(mrs_spsel); TRY(mrs_ctr); TRY(mrs_dczid); TRY(mrs_cntvct); TRY(mrs_cntpct); TRY(mrs_cntfrq); TRY(mrs_cntv_ctl);
TRY(mrs_cntp_ctl); TRY(msr_cntv_ctl); TRY(msr_cntp_cval); TRY(msr_tpidr); TRY(msr_tpidrro); TRY(mrs_midr);
TRY(mrs_sctlr); TRY(msr_ttbr0); TRY(msr_fpcr); TRY(mrs_fpsr); TRY(fadd); TRY(movi); TRY(fmov); TRY(at_s1e1r);
TRY(at_s1e1w); TRY(at_s1e0r); TRY(at_s1e0w);

struct try {
  const char *name;
  char *code;
};
#define ENTRY(name) { #name, try_##name }

/* ---- The log ---- */

static char *log_at = LOG;

static void text(const char *from)
{
  while (*from)
    *log_at++ = *from++;
}

static void number(u64 value)
{
  int shift = 60;
  while (shift > 0 && (value >> shift) == 0)
    shift -= 4;
  for (; shift >= 0; shift -= 4)
    *log_at++ = "0123456789abcdef"[(value >> shift) & 15];
}

static void labelled(const char *label, u64 value)
{
  text(" ");
  text(label);
  text("=");
  number(value);
}

/* ---- Translation tables ---- */

#define TABLE static u64 __attribute__((aligned(4096)))
TABLE identity1[512];
TABLE identity2[512];
/* A chain in which any level can be the first: entry 0 of each leads to the next. */
TABLE high[4][512];
TABLE page_a[512];
TABLE page_b[512];
TABLE patch[512];

#define DESCRIPTOR_TABLE 3UL
#define DESCRIPTOR_BLOCK 1UL
#define DESCRIPTOR_PAGE 3UL
#define ATTRIBUTE(n) ((u64)(n) << 2)
#define AP(n) ((u64)(n) << 6)
#define SH_INNER (3UL << 8)
#define AF BIT(10)
#define NG BIT(11)
#define PXN BIT(53)
#define UXN BIT(54)
#define NORMAL (ATTRIBUTE(0) | SH_INNER | AF)

#define HIGH 0xffff000000000000UL
#define TRIES_PAGE 4UL
#define PATCH_PAGE 8UL
#define TEST_PAGE 16UL

#define TCR_T0SZ 25UL
#define TCR_COMMON (TCR_T0SZ | 0x3500UL | 0x35000000UL | (2UL << 30) | (2UL << 32))
#define TCR_T1SZ(n) ((u64)(n) << 16)
#define SCTLR_RES1 0x30d00800UL
#define SCTLR_ON (SCTLR_RES1 | 0x1005UL)
#define SCTLR_A BIT(1)
#define SCTLR_SA BIT(3)
#define SCTLR_SA0 BIT(4)
#define SCTLR_UMA BIT(9)
#define SCTLR_DZE BIT(14)
#define SCTLR_UCT BIT(15)
#define SCTLR_NTWI BIT(16)
#define SCTLR_NTWE BIT(18)
#define SCTLR_WXN BIT(19)
#define SCTLR_UCI BIT(26)

static void forget(void)
{
  __asm__ volatile("dsb ish\n tlbi vmalle1\n dsb ish\n isb" : : : "memory");
}

static u64 physical(const void *pointer)
{
  return (u64)pointer;
}

static void translate(void)
{
  identity1[0] = DESCRIPTOR_BLOCK | ATTRIBUTE(1) | AF | UXN | PXN;
  identity1[1] = physical(identity2) | DESCRIPTOR_TABLE;
  identity2[0] = 0x40000000UL | DESCRIPTOR_BLOCK | NORMAL | AP(2) | UXN;
  for (u64 i = 1; i < 8; i++)
    identity2[i] = (0x40000000UL + (i << 21)) | DESCRIPTOR_BLOCK | NORMAL | AP(0) | UXN | PXN;
  for (int level = 0; level < 3; level++)
    high[level][0] = physical(high[level + 1]) | DESCRIPTOR_TABLE;
  for (u64 i = 0; i < 3; i++)
    high[3][TRIES_PAGE + i] = (physical(tries) + i * 4096) | DESCRIPTOR_PAGE | NORMAL | AP(3) | PXN;
  high[3][PATCH_PAGE] = physical(patch) | DESCRIPTOR_PAGE | NORMAL | AP(3) | PXN;
  WRITE(mair_el1, 0x00ffUL);
  WRITE(tcr_el1, TCR_COMMON | TCR_T1SZ(16));
  WRITE(ttbr0_el1, physical(identity1));
  WRITE(ttbr1_el1, physical(high[0]));
  forget();
  WRITE(sctlr_el1, SCTLR_ON);
}

/* ---- Attempts ---- */

#define EL0 0x3c0UL
#define EL1T 0x3c4UL
#define EL1 0x3c5UL

static u64 sp_for_attempts;
/* Word and half of the page that a result in X0 is from are shown, not where it is. */
static int show_result = 1;

static void outcome(u64 pc)
{
  u64 class = frame.esr >> 26;
  text(":");
  labelled("vector", frame.vector);
  labelled("esr", frame.esr);
  /* FAR is for aborts and misaligned PCs only. */
  if (class >= 0x20 && class <= 0x25)
    labelled("far", frame.far);
  labelled("spsr", frame.spsr);
  text(frame.elr >= pc ? " elr=+" : " elr=-");
  number(frame.elr >= pc ? frame.elr - pc : pc - frame.elr);
  if (show_result)
    labelled("x0", frame.x0);
  text("\n");
}

static void go(const char *name, u64 mode, u64 pc, u64 x0, u64 x1)
{
  text(name);
  text(mode == EL0 ? " at EL0" : mode == EL1 ? " at EL1" : mode == EL1T ? " at EL1t" : " elsewhere");
  attempt(mode, pc, x0, x1, sp_for_attempts);
  outcome(pc);
}

static u64 user(const char *code)
{
  return HIGH + TRIES_PAGE * 4096 + (u64)(code - tries);
}

static void one(const struct try *try, u64 mode, u64 x0, u64 x1)
{
  go(try->name, mode, mode == EL0 ? user(try->code) : (u64)try->code, x0, x1);
}

static void two(const struct try *try, u64 x0, u64 x1)
{
  one(try, EL1, x0, x1);
  one(try, EL0, x0, x1);
}

#define COUNT(list) (sizeof(list) / sizeof(list)[0])
#define ALL(list, x0, x1)                   \
  for (u64 i_ = 0; i_ < COUNT(list); i_++) \
  two(&list[i_], x0, x1)

static const struct try accesses[] = { ENTRY(ldr), ENTRY(str), ENTRY(ldtr), ENTRY(sttr), ENTRY(ldxr), ENTRY(zva),
                                       ENTRY(prfm) };
static const struct try translations[] = { ENTRY(at_s1e1r), ENTRY(at_s1e1w), ENTRY(at_s1e0r), ENTRY(at_s1e0w) };

static void at(u64 address)
{
  /* PAR_EL1.NS is unknown here. */
  for (u64 i = 0; i < COUNT(translations); i++) {
    text(translations[i].name);
    attempt(EL1, (u64)translations[i].code, address, 0, sp_for_attempts);
    labelled("par", frame.x0 & ~BIT(9));
    text("\n");
  }
}

/* All accesses to an address, and jumps to it. */
static void probe(u64 address)
{
  ALL(accesses, address, 0x5a5a);
  at(address);
  go("jump", EL1, address, 0, 0);
  go("jump", EL0, address, 0, 0);
}

#define SVC 0xd4000001UL
#define NOP 0xd503201fUL

/* A page that can be executed: every doubleword is NOP and SVC. */
static void fill(u64 *page, u64 imm)
{
  for (int i = 0; i < 512; i++)
    page[i] = NOP | (SVC | imm << 5) << 32;
}

static void map(u64 descriptor)
{
  high[3][TEST_PAGE] = descriptor;
  forget();
  fill(page_a, 0xa);
}

#define TEST (HIGH + TEST_PAGE * 4096)

static void permissions(void)
{
  static const u64 sctlrs[] = { SCTLR_ON | SCTLR_DZE | SCTLR_UCI, SCTLR_ON | SCTLR_DZE | SCTLR_UCI | SCTLR_WXN };
  for (u64 s = 0; s < 2; s++) {
    WRITE(sctlr_el1, sctlrs[s]);
    for (u64 i = 0; i < 32; i++) {
      text("permissions");
      labelled("wxn", s);
      labelled("ap", i & 3);
      labelled("pxn", (i >> 2) & 1);
      labelled("uxn", (i >> 3) & 1);
      labelled("af", (i >> 4) & 1);
      text("\n");
      map(physical(page_a) | DESCRIPTOR_PAGE | ATTRIBUTE(0) | SH_INNER | AP(i & 3) | ((i >> 2) & 1) * PXN |
          ((i >> 3) & 1) * UXN | ((i >> 4) & 1) * AF);
      probe(TEST + 0x128);
    }
  }
  WRITE(sctlr_el1, SCTLR_ON | SCTLR_DZE | SCTLR_UCI);
  for (u64 i = 0; i < 16; i++) {
    text("table attributes");
    labelled("aptable", i & 3);
    labelled("pxntable", (i >> 2) & 1);
    labelled("uxntable", (i >> 3) & 1);
    text("\n");
    /* The attempts at EL0 come from this table too: only those that EL1 makes. */
    high[2][1] = physical(high[3]) | DESCRIPTOR_TABLE | (i & 3) << 61 | ((i >> 2) & 1) << 59 | ((i >> 3) & 1) << 60;
    map(physical(page_a) | DESCRIPTOR_PAGE | NORMAL | AP(1));
    probe(TEST + 0x200000);
    map(physical(page_a) | DESCRIPTOR_PAGE | NORMAL | AP(0));
    probe(TEST + 0x200000);
  }
  high[2][1] = 0;
  map(0);
}

static void levels(void)
{
  static const u64 entries[] = { 0, 2, DESCRIPTOR_BLOCK, DESCRIPTOR_BLOCK | AF, DESCRIPTOR_BLOCK | AP(2) | AF,
                                 DESCRIPTOR_BLOCK | AP(2), DESCRIPTOR_BLOCK | BIT(52) | AF };
  WRITE(sctlr_el1, SCTLR_ON | SCTLR_DZE | SCTLR_UCI);
  /* QEMU 7.2 takes a block at level 0, which is reserved, for one. */
  for (u64 level = 0; level < 3; level++)
    for (u64 i = 0; i < (level == 0 ? 2 : COUNT(entries)); i++) {
      u64 shift = 39 - 9 * level;
      text("entry");
      labelled("level", level);
      labelled("bits", entries[i]);
      text("\n");
      high[level][3] = entries[i] | ATTRIBUTE(0) | SH_INNER | (entries[i] & 1 ? 0x40000000UL : 0);
      forget();
      /* The middle of a part that is safe to write. */
      u64 inside = physical(page_a) - 0x40000000UL;
      probe(HIGH + (3UL << shift) + inside + 0x40);
      high[level][3] = 0;
    }
  static const u64 pages[] = { 0, 1, 2, DESCRIPTOR_PAGE, DESCRIPTOR_PAGE | AF | BIT(36), DESCRIPTOR_PAGE | AF | BIT(47) };
  for (u64 i = 0; i < COUNT(pages); i++) {
    text("page");
    labelled("bits", pages[i]);
    text("\n");
    /* Output addresses of 36 bits. */
    WRITE(tcr_el1, (TCR_COMMON & ~(7UL << 32)) | 1UL << 32 | TCR_T1SZ(16));
    map(pages[i] | ATTRIBUTE(0) | SH_INNER | physical(page_a));
    probe(TEST + 8);
  }
  WRITE(tcr_el1, TCR_COMMON | TCR_T1SZ(16));
  map(0);
}

static void ranges(void)
{
  static const u64 addresses[] = { 0x0000008000000000UL, 0x0000800000000000UL, 0x0001000000000000UL,
                                   0x0010000000000000UL, 0x00ff000040200000UL, 0x0100000040200000UL,
                                   0x8000000000000000UL, 0xfffeffffffffffe0UL, 0xfeff000000010000UL };
  static const u64 sizes[] = { 16, 20, 24, 25, 30, 33, 34, 39 };
  fill(page_a, 0xa);
  for (u64 i = 0; i < COUNT(addresses); i++) {
    text("out of range");
    labelled("va", addresses[i]);
    text("\n");
    one(&accesses[0], EL1, addresses[i], 0);
    one(&accesses[0], EL0, addresses[i], 0);
    at(addresses[i]);
    go("jump", EL1, addresses[i], 0, 0);
  }
  for (u64 i = 0; i < COUNT(sizes); i++) {
    u64 level = sizes[i] < 25 ? 0 : sizes[i] < 34 ? 1 : 2;
    u64 base = -(1UL << (64 - sizes[i]));
    text("T1SZ");
    labelled("n", sizes[i]);
    text("\n");
    WRITE(ttbr1_el1, physical(high[level]));
    WRITE(tcr_el1, TCR_COMMON | TCR_T1SZ(sizes[i]));
    high[3][TEST_PAGE] = physical(page_a) | DESCRIPTOR_PAGE | NORMAL | AP(0);
    forget();
    one(&accesses[0], EL1, base + TEST_PAGE * 4096 + 8, 0);
    one(&accesses[0], EL1, base + 0x7000, 0);
    one(&accesses[0], EL1, base - 8, 0);
    at(base + TEST_PAGE * 4096);
  }
  WRITE(ttbr1_el1, physical(high[0]));
  WRITE(tcr_el1, TCR_COMMON | TCR_T1SZ(16) | BIT(23));
  forget();
  text("EPD1\n");
  one(&accesses[0], EL1, TEST, 0);
  at(TEST);
  for (u64 tbi = 0; tbi < 4; tbi++) {
    WRITE(tcr_el1, TCR_COMMON | TCR_T1SZ(16) | tbi << 37);
    map(physical(page_a) | DESCRIPTOR_PAGE | NORMAL | AP(1) | PXN);
    text("tags");
    labelled("tbi", tbi);
    text("\n");
    two(&accesses[0], TEST & ~(0xffUL << 56), 0);
    two(&accesses[0], (TEST & ~(0xffUL << 56)) | 0x5aUL << 56, 0);
    two(&accesses[0], (TEST + 4096) ^ 0x33UL << 56, 0);
    one(&accesses[0], EL1, physical(page_a) | 0x77UL << 56, 0);
    go("jump", EL0, (TEST + 8) ^ 0x5aUL << 56, 0, 0);
    go("jump", EL0, (TEST + 4096) ^ 0x5aUL << 56, 0, 0);
    go("jump", EL1, (u64)try_nothing | 0x11UL << 56, 0, 0);
    go("call", EL0, user(try_call), (TEST + 8) ^ 0x5aUL << 56, 0);
    go("call", EL0, user(try_call), (TEST + 4096) ^ 0x5aUL << 56, 0);
  }
  WRITE(tcr_el1, TCR_COMMON | TCR_T1SZ(16));
  map(0);
}

static void maintenance(void)
{
  static const char *const kinds[] = { "vmalle1", "vmalle1is", "vae1", "vae1is", "vale1", "vale1is", "vaae1",
                                       "vaae1is", "vaale1", "vaale1is", "aside1", "aside1is" };
  fill(page_a, 0xa);
  fill(page_b, 0xb);
  for (u64 i = 0; i < COUNT(kinds); i++)
    for (u64 global = 0; global < 2; global++) {
      u64 asid = 5UL << 48;
      u64 operand = asid | ((TEST >> 12) & 0xfffffffffffUL);
      WRITE(ttbr0_el1, physical(identity1) | asid);
      map(physical(page_a) | DESCRIPTOR_PAGE | NORMAL | AP(1) | (global ? 0 : NG));
      text(kinds[i]);
      labelled("global", global);
      text("\n");
      two(&accesses[0], TEST, 0);
      high[3][TEST_PAGE] = physical(page_b) | DESCRIPTOR_PAGE | NORMAL | AP(1) | (global ? 0 : NG);
      __asm__ volatile("dsb ish" : : : "memory");
      switch (i) {
      case 0: __asm__ volatile("tlbi vmalle1" : : : "memory"); break;
      case 1: __asm__ volatile("tlbi vmalle1is" : : : "memory"); break;
      case 2: __asm__ volatile("tlbi vae1, %0" : : "r"(operand) : "memory"); break;
      case 3: __asm__ volatile("tlbi vae1is, %0" : : "r"(operand) : "memory"); break;
      case 4: __asm__ volatile("tlbi vale1, %0" : : "r"(operand) : "memory"); break;
      case 5: __asm__ volatile("tlbi vale1is, %0" : : "r"(operand) : "memory"); break;
      case 6: __asm__ volatile("tlbi vaae1, %0" : : "r"(operand) : "memory"); break;
      case 7: __asm__ volatile("tlbi vaae1is, %0" : : "r"(operand) : "memory"); break;
      case 8: __asm__ volatile("tlbi vaale1, %0" : : "r"(operand) : "memory"); break;
      case 9: __asm__ volatile("tlbi vaale1is, %0" : : "r"(operand) : "memory"); break;
      case 10: __asm__ volatile("tlbi aside1, %0" : : "r"(asid) : "memory"); break;
      default: __asm__ volatile("tlbi aside1is, %0" : : "r"(asid) : "memory");
      }
      __asm__ volatile("dsb ish\n isb" : : : "memory");
      /* ASIDE1 need not reach a global entry. */
      if (i < 10 || !global)
        two(&accesses[0], TEST, 0);
    }
  /* Entries of one ASID are not used for another. */
  forget();
  for (u64 asid = 1; asid < 12; asid++) {
    WRITE(ttbr0_el1, physical(identity1) | asid << 48);
    high[3][TEST_PAGE] = physical(asid & 1 ? page_a : page_b) | DESCRIPTOR_PAGE | NORMAL | AP(1) | NG;
    __asm__ volatile("dsb ish\n isb" : : : "memory");
    text("ASID");
    labelled("n", asid);
    text("\n");
    two(&accesses[0], TEST, 0);
    go("jump", EL0, TEST, 0, 0);
  }
  WRITE(ttbr0_el1, physical(identity1));
  map(0);
}

static const struct try traps[] = {
  ENTRY(nothing), ENTRY(svc), ENTRY(smc), ENTRY(brk), ENTRY(hlt), ENTRY(dcps2), ENTRY(dcps3), ENTRY(drps), ENTRY(udf),
  ENTRY(daifset), ENTRY(daifclr), ENTRY(mrs_daif), ENTRY(msr_daif), ENTRY(mrs_currentel), ENTRY(mrs_spsel),
  ENTRY(spsel0), ENTRY(spsel1), ENTRY(mrs_dczid), ENTRY(mrs_cntv_ctl), ENTRY(mrs_cntp_ctl), ENTRY(msr_cntv_ctl),
  ENTRY(msr_cntp_cval), ENTRY(msr_tpidr), ENTRY(msr_fpcr), ENTRY(mrs_fpsr), ENTRY(fadd), ENTRY(movi), ENTRY(fmov),
};
/* What they read differs between machines, or EL1 may do it without being trapped. */
static const struct try user_traps[] = { ENTRY(hvc0), ENTRY(dcps1), ENTRY(eret), ENTRY(mrs_midr), ENTRY(mrs_sctlr),
                                         ENTRY(msr_ttbr0), ENTRY(msr_tpidrro), ENTRY(isw), ENTRY(tlbi), ENTRY(iallu),
                                         ENTRY(ivac), ENTRY(mrs_ctr), ENTRY(mrs_cntfrq), ENTRY(mrs_cntvct),
                                         ENTRY(mrs_cntpct), ENTRY(at_s1e0r) };
static const struct try waits[] = { ENTRY(wfi), ENTRY(wfe) };
static const struct try fp[] = { ENTRY(fadd), ENTRY(movi), ENTRY(fmov), ENTRY(msr_fpcr), ENTRY(mrs_fpsr), ENTRY(ldr_q),
                                 ENTRY(ld1), ENTRY(udf) };

static void exceptions(void)
{
  static const u64 controls[] = { 0,         SCTLR_UMA,  SCTLR_DZE, SCTLR_UCT, SCTLR_UCI, SCTLR_NTWI,
                                  SCTLR_NTWE, SCTLR_UMA | SCTLR_DZE | SCTLR_UCT | SCTLR_UCI };
  static const struct try controlled[] = { ENTRY(mrs_daif), ENTRY(msr_daif), ENTRY(daifset), ENTRY(daifclr),
                                           ENTRY(zva), ENTRY(mrs_dczid), ENTRY(cvac), ENTRY(cvau), ENTRY(civac),
                                           ENTRY(ivau) };
  map(physical(page_a) | DESCRIPTOR_PAGE | NORMAL | AP(1) | PXN);
  text("exceptions\n");
  WRITE(sctlr_el1, SCTLR_ON);
  ALL(traps, 0x3c0, 0);
  show_result = 0;
  for (u64 i = 0; i < COUNT(user_traps); i++)
    one(&user_traps[i], EL0, TEST, 0);
  for (u64 c = 0; c < COUNT(controls); c++) {
    text("SCTLR");
    labelled("bits", controls[c]);
    text("\n");
    WRITE(sctlr_el1, SCTLR_ON | controls[c]);
    for (u64 i = 0; i < COUNT(controlled); i++)
      one(&controlled[i], EL0, TEST, 0);
    one(&(struct try)ENTRY(mrs_ctr), EL0, 0, 0);
    /* Where they are not trapped they may wait. */
    if ((controls[c] & SCTLR_NTWI) == 0)
      one(&waits[0], EL0, 0, 0);
  }
  WRITE(sctlr_el1, SCTLR_ON);
  for (u64 i = 0; i < 4; i++) {
    static const struct try counters[] = { ENTRY(mrs_cntvct), ENTRY(mrs_cntpct), ENTRY(mrs_cntfrq) };
    text("CNTKCTL");
    labelled("bits", i);
    text("\n");
    WRITE(cntkctl_el1, i);
    for (u64 j = 0; j < COUNT(counters); j++)
      one(&counters[j], EL0, 0, 0);
  }
  show_result = 1;
  for (u64 i = 0; i < 4; i++) {
    static const struct try timers[] = { ENTRY(mrs_cntv_ctl), ENTRY(mrs_cntp_ctl), ENTRY(msr_cntv_ctl),
                                         ENTRY(msr_cntp_cval) };
    text("CNTKCTL");
    labelled("bits", i << 8);
    text("\n");
    WRITE(cntkctl_el1, i << 8);
    for (u64 j = 0; j < COUNT(timers); j++)
      one(&timers[j], EL0, 0, 0);
  }
  WRITE(cntkctl_el1, 0);
  for (u64 i = 0; i < 4; i++) {
    text("CPACR");
    labelled("fpen", i);
    text("\n");
    WRITE(cpacr_el1, i << 20);
    ALL(fp, TEST, 0);
  }
  WRITE(cpacr_el1, 3UL << 20);
  map(0);
}

static void alignment(void)
{
  static const struct try sized[] = { ENTRY(ldr), ENTRY(str), ENTRY(ldrb), ENTRY(ldp), ENTRY(stp), ENTRY(ldxr),
                                      ENTRY(ldar), ENTRY(stlr), ENTRY(ldr_q), ENTRY(ld1), ENTRY(ld1b),
                                      ENTRY(ldr_post), ENTRY(str_pre), ENTRY(ldtr) };
  map(physical(page_a) | DESCRIPTOR_PAGE | NORMAL | AP(1) | PXN);
  for (u64 a = 0; a < 2; a++) {
    WRITE(sctlr_el1, SCTLR_ON | a * SCTLR_A);
    for (u64 offset = 0; offset < 16; offset += offset < 2 ? 1 : 2) {
      text("alignment");
      labelled("a", a);
      labelled("offset", offset);
      text("\n");
      fill(page_a, 0xa);
      ALL(sized, TEST + 0x100 + offset, 0);
    }
    text("over the end of the page");
    labelled("a", a);
    text("\n");
    ALL(sized, TEST + 0xffc, 0);
    ALL(sized, TEST + 0xff8, 0);
    ALL(sized, TEST - 4, 0);
  }
  for (u64 i = 0; i < 16; i++) {
    u64 sctlr = SCTLR_ON | (i & 1) * SCTLR_SA | ((i >> 1) & 1) * SCTLR_SA0;
    static const struct try stacks[] = { ENTRY(ldr_sp), ENTRY(stp_sp), ENTRY(nothing) };
    WRITE(sctlr_el1, sctlr);
    sp_for_attempts = TEST + 0x200 + ((i >> 2) & 3) * 4;
    text("stack");
    labelled("sa", i & 1);
    labelled("sa0", (i >> 1) & 1);
    labelled("sp", sp_for_attempts & 15);
    text("\n");
    ALL(stacks, 1, 2);
    for (u64 j = 0; j < COUNT(stacks); j++)
      one(&stacks[j], EL1T, 1, 2);
  }
  WRITE(sctlr_el1, SCTLR_ON);
  sp_for_attempts = TEST + 0x200;
  text("misaligned PC\n");
  for (u64 i = 1; i < 4; i++) {
    go("jump", EL0, user(try_nothing) + i, 0, 0);
    go("jump", EL1, (u64)try_nothing + i, 0, 0);
    go("branch", EL0, user(try_branch), user(try_nothing) + i, 0);
    go("call", EL1, (u64)try_call, (u64)try_nothing + i, 0);
  }
  map(0);
}

static void returns(void)
{
  static const u64 flags[] = { 0, 0xf0000000UL, 0xa0000000UL, BIT(20), BIT(20) | 0x50000000UL, 0x200UL, 0x100UL,
                               0x80UL, 0x40UL };
  text("returns\n");
  WRITE(sctlr_el1, SCTLR_ON);
  sp_for_attempts = TEST + 0x200;
  /* Not to AArch32, which only one of the machines has. */
  for (u64 m = 0; m < 16; m++)
    for (u64 i = 0; i < COUNT(flags); i++) {
      /* An FIQ or IRQ has no source, but SError, debug and those masks may be seen in SPSR. */
      u64 spsr = flags[i] | m | (flags[i] & 0x3c0 ? 0 : 0x3c0);
      text("spsr");
      labelled("bits", spsr);
      attempt(spsr, m == 0 ? user(try_nothing) : (u64)try_nothing, 0, 0, sp_for_attempts);
      outcome(m == 0 ? user(try_nothing) : (u64)try_nothing);
    }
}

/* The PMU, which only one of the machines has. */
static int is_pmu(u32 register_)
{
  u32 group = register_ >> 7, crm = (register_ >> 3) & 15;
  return (group == 0x39 && crm >= 12) || (group == 0x3e && crm >= 8);
}

/* MRS and MSR of every op0 = 3 register at EL0: those that are not undefined. */
static void user_registers(void)
{
  u32 *code = (u32 *)patch;
  u64 pc = HIGH + PATCH_PAGE * 4096;
  WRITE(sctlr_el1, SCTLR_ON | SCTLR_UCT);
  show_result = 0;
  for (u64 direction = 0; direction < 2; direction++)
    for (u32 register_ = 0; register_ < 1 << 14; register_++) {
      if (is_pmu(register_))
        continue;
      code[0] = (direction ? 0xd5380000 : 0xd5180000) | register_ << 5 | 1;
      code[1] = SVC | 0x7000 << 5;
      __asm__ volatile("dc cvau, %0\n dsb ish\n ic ivau, %1\n dsb ish\n isb" : : "r"(code), "r"(pc) : "memory");
      attempt(EL0, pc, 0, 0, sp_for_attempts);
      if (frame.esr >> 26 == 0)
        continue;
      text(direction ? "mrs" : "msr");
      labelled("op1", register_ >> 11);
      labelled("crn", (register_ >> 7) & 15);
      labelled("crm", (register_ >> 3) & 15);
      labelled("op2", register_ & 7);
      outcome(pc);
    }
  show_result = 1;
}

#define MASK(name)                    \
  do {                                \
    u64 before_ = READ(name);         \
    text(#name);                      \
    WRITE(name, ~0UL);                \
    labelled("ones", READ(name));     \
    WRITE(name, 0);                   \
    labelled("zeros", READ(name));    \
    WRITE(name, before_);             \
    text("\n");                       \
  } while (0)

/* Which bits of a register can be written. With the MMU off. */
static void masks(void)
{
  MASK(ttbr0_el1);
  MASK(ttbr1_el1);
  MASK(mair_el1);
  MASK(esr_el1);
  MASK(far_el1);
  MASK(elr_el1);
  MASK(contextidr_el1);
  MASK(tpidr_el0);
  MASK(tpidrro_el0);
  MASK(tpidr_el1);
  MASK(sp_el0);
  MASK(cpacr_el1);
  MASK(cntkctl_el1);
  MASK(cntv_cval_el0);
  MASK(cntp_cval_el0);
  MASK(vbar_el1);
  MASK(amair_el1);
  MASK(nzcv);
  MASK(daif);
  MASK(fpcr);
  MASK(fpsr);
  text("timer");
  WRITE(cntv_cval_el0, 0);
  WRITE(cntv_ctl_el0, 3);
  labelled("fired", READ(cntv_ctl_el0));
  WRITE(cntv_cval_el0, ~0UL);
  labelled("later", READ(cntv_ctl_el0));
  WRITE(cntv_ctl_el0, 2);
  WRITE(cntv_cval_el0, 0);
  labelled("disabled", READ(cntv_ctl_el0) & 3);
  WRITE(cntv_ctl_el0, 0);
  text("\n");
}

void main(void)
{
  WRITE(cpacr_el1, 3UL << 20);
  sp_for_attempts = TEST + 0x200;
  masks();
  translate();
  permissions();
  levels();
  ranges();
  maintenance();
  exceptions();
  alignment();
  returns();
  user_registers();
  text("end\n");
  for (char *at_ = LOG; at_ < log_at; at_++)
    *UART = (unsigned char)*at_;
}
