/*
 * The oracle: runs A64 instruction sequences in user mode and reports the resulting state.
 *
 * Freestanding. stdin: `struct fill_table`, then cases until end of file. stdout: one result per case.
 * The program lives in a signal handler: each case ends in a signal (BRK, an undefined instruction, a fault), the
 * handler reports the interrupted context, writes the next case's state into it, and returns there.
 * state.ts holds the other side of these layouts.
 */
typedef unsigned int u32;
typedef unsigned long u64;

#define CODE_BASE 0x10000000UL
#define CODE_SIZE 0x2000UL
#define DATA_BASE 0x10010000UL
#define DATA_SIZE 0x4000UL
#define DATA_WORDS (DATA_SIZE / 8)
#define FILL_TABLE 64

#define BRK 0xd4200000U

#define SIGILL 4
#define SIGTRAP 5
#define SIGBUS 7
#define SIGSEGV 11

#define PSTATE_NZCV 0xf0000000UL
#define FPSIMD_MAGIC 0x46508001U

struct state {
  u64 x[31], sp, pc, nzcv, fpcr, fpsr, tpidr, v[64];
};

struct case_header {
  u32 words, data_seed, patches, origin;
};

struct patch {
  u64 index, value;
};

struct result_header {
  u32 signal, code, changed, reserved;
  u64 address;
};

struct siginfo {
  int signo, error, code, pad;
  u64 address;
};

struct fpsimd {
  u32 magic, size, fpsr, fpcr;
  u64 v[64];
};

/* struct ucontext of the arm64 Linux ABI; `reserved` starts at the next 16-byte boundary. */
struct context {
  unsigned char head[176];
  u64 fault, x[31], sp, pc, pstate, pad;
  unsigned char reserved[4096];
};

struct sigaction {
  void (*handler)(int, struct siginfo *, struct context *);
  u64 flags;
  void (*restorer)(void);
  u64 mask;
};

static long call(long number, long a, long b, long c, long d, long e, long f)
{
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  register long x5 __asm__("x5") = f;
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return x0;
}

#define SYS_read 63
#define SYS_write 64
#define SYS_exit_group 94
#define SYS_sigaltstack 132
#define SYS_rt_sigaction 134
#define SYS_mmap 222

static void leave(int status)
{
  call(SYS_exit_group, status, 0, 0, 0, 0, 0);
  __builtin_unreachable();
}

static unsigned char input[1 << 16], output[1 << 16];
static u64 input_from, input_to, output_to;

static void flush(void)
{
  u64 from = 0;
  while (from < output_to) {
    long n = call(SYS_write, 1, (long)(output + from), (long)(output_to - from), 0, 0, 0);
    if (n <= 0)
      leave(3);
    from += (u64)n;
  }
  output_to = 0;
}

static void put(const void *bytes, u64 size)
{
  const unsigned char *from = bytes;
  for (u64 i = 0; i < size; i++) {
    if (output_to == sizeof output)
      flush();
    output[output_to++] = from[i];
  }
}

/* 0 at a clean end of input. */
static int get(void *bytes, u64 size)
{
  unsigned char *to = bytes;
  for (u64 i = 0; i < size; i++) {
    if (input_from == input_to) {
      long n = call(SYS_read, 0, (long)input, sizeof input, 0, 0, 0);
      if (n < 0)
        leave(4);
      if (n == 0) {
        if (i != 0)
          leave(5);
        return 0;
      }
      input_from = 0;
      input_to = (u64)n;
    }
    to[i] = input[input_from++];
  }
  return 1;
}

static void need(void *bytes, u64 size)
{
  if (!get(bytes, size))
    leave(5);
}

static u64 fill_table[FILL_TABLE];
static u64 initial[DATA_WORDS];
static u32 fill_state;
static int running;

static u32 fill_next(void)
{
  u32 s = fill_state;
  s ^= s << 13;
  s ^= s >> 17;
  s ^= s << 5;
  return fill_state = s;
}

static void fill(u32 seed)
{
  u64 *data = (u64 *)DATA_BASE;
  fill_state = seed | 1;
  for (u64 i = 0; i < DATA_WORDS; i++) {
    u32 low = fill_next();
    u32 high = fill_next();
    u64 value = (u64)high << 32 | low;
    data[i] = initial[i] = (low >> 30) == 0 ? fill_table[high % FILL_TABLE] : value;
  }
}

static struct fpsimd *fpsimd_of(struct context *context)
{
  struct fpsimd *record = (struct fpsimd *)context->reserved;
  while (record->magic != FPSIMD_MAGIC) {
    if (record->magic == 0)
      leave(6);
    record = (struct fpsimd *)((unsigned char *)record + record->size);
  }
  return record;
}

static void report(int signal, const struct siginfo *info, struct context *context)
{
  const u64 *data = (const u64 *)DATA_BASE;
  const struct fpsimd *fp = fpsimd_of(context);
  struct result_header header = { (u32)signal, (u32)info->code, 0, 0, info->address };
  struct state state;
  for (int i = 0; i < 31; i++)
    state.x[i] = context->x[i];
  state.sp = context->sp;
  state.pc = context->pc;
  state.nzcv = context->pstate & PSTATE_NZCV;
  state.fpcr = fp->fpcr;
  state.fpsr = fp->fpsr;
  for (int i = 0; i < 64; i++)
    state.v[i] = fp->v[i];
  __asm__ volatile("mrs %0, tpidr_el0" : "=r"(state.tpidr));
  for (u64 i = 0; i < DATA_WORDS; i++)
    header.changed += data[i] != initial[i];
  put(&header, sizeof header);
  put(&state, sizeof state);
  for (u64 i = 0; i < DATA_WORDS; i++) {
    if (data[i] != initial[i]) {
      struct patch patch = { i, data[i] };
      put(&patch, sizeof patch);
    }
  }
}

/* The words of the case before; everything else in the code pages is BRK. */
static u32 code_from, code_words;

static void synchronize(u32 from, u32 words)
{
  u64 at = (CODE_BASE + from * 4UL) & ~63UL;
  for (; at < CODE_BASE + (from + words) * 4UL; at += 64)
    __asm__ volatile("dc cvau, %0\n dsb ish\n ic ivau, %0" : : "r"(at) : "memory");
  __asm__ volatile("dsb ish\n isb" : : : "memory");
}

static void clear(u32 from, u32 words)
{
  for (u32 i = 0; i < words; i++)
    ((u32 *)CODE_BASE)[from + i] = BRK;
  synchronize(from, words);
}

static void load(struct context *context)
{
  struct case_header header;
  struct state state;
  struct fpsimd *fp = fpsimd_of(context);
  if (!get(&header, sizeof header)) {
    flush();
    leave(0);
  }
  if (header.origin > CODE_SIZE / 4 || header.words > CODE_SIZE / 4 - header.origin || header.patches > DATA_WORDS)
    leave(7);
  need(&state, sizeof state);
  fill(header.data_seed);
  for (u32 i = 0; i < header.patches; i++) {
    struct patch patch;
    need(&patch, sizeof patch);
    if (patch.index >= DATA_WORDS)
      leave(7);
    ((u64 *)DATA_BASE)[patch.index] = initial[patch.index] = patch.value;
  }
  clear(code_from, code_words);
  code_from = header.origin;
  code_words = header.words;
  need((u32 *)CODE_BASE + code_from, code_words * 4);
  synchronize(code_from, code_words);
  for (int i = 0; i < 31; i++)
    context->x[i] = state.x[i];
  context->sp = state.sp;
  context->pc = state.pc;
  context->pstate = state.nzcv & PSTATE_NZCV;
  fp->fpcr = (u32)state.fpcr;
  fp->fpsr = (u32)state.fpsr;
  for (int i = 0; i < 64; i++)
    fp->v[i] = state.v[i];
  __asm__ volatile("msr tpidr_el0, %0" : : "r"(state.tpidr));
}

static void on_signal(int signal, struct siginfo *info, struct context *context)
{
  if (running)
    report(signal, info, context);
  running = 1;
  load(context);
}

/* GCC may turn loops above into calls of these. */
void *memcpy(void *to, const void *from, u64 size)
{
  for (u64 i = 0; i < size; i++)
    ((volatile unsigned char *)to)[i] = ((const unsigned char *)from)[i];
  return to;
}

void *memset(void *to, int value, u64 size)
{
  for (u64 i = 0; i < size; i++)
    ((volatile unsigned char *)to)[i] = (unsigned char)value;
  return to;
}

void restore(void);
__asm__("restore: mov x8, #139\n svc #0\n"); /* rt_sigreturn */

static unsigned char signal_stack[1 << 16] __attribute__((aligned(16)));

#define PROT_READ_WRITE 3
#define PROT_ALL 7
#define MAP_PRIVATE_ANONYMOUS_FIXED 0x32
#define SA_SIGINFO_ONSTACK_NODEFER_RESTORER 0x4c000004UL

static void map(u64 address, u64 size, int protection)
{
  long at = call(SYS_mmap, (long)address, (long)size, protection, MAP_PRIVATE_ANONYMOUS_FIXED, -1, 0);
  if (at != (long)address)
    leave(8);
}

void start(void)
{
  static const int signals[] = { SIGILL, SIGTRAP, SIGBUS, SIGSEGV };
  static struct {
    void *sp;
    int flags;
    u64 size;
  } stack = { signal_stack, 0, sizeof signal_stack };
  struct sigaction action = { on_signal, SA_SIGINFO_ONSTACK_NODEFER_RESTORER, restore, 0 };
  map(CODE_BASE, CODE_SIZE, PROT_ALL);
  map(DATA_BASE, DATA_SIZE, PROT_READ_WRITE);
  call(SYS_sigaltstack, (long)&stack, 0, 0, 0, 0, 0);
  for (u64 i = 0; i < sizeof signals / sizeof signals[0]; i++)
    call(SYS_rt_sigaction, signals[i], (long)&action, 0, 8, 0, 0);
  clear(0, CODE_SIZE / 4);
  need(fill_table, sizeof fill_table);
  __asm__ volatile("brk #0");
}

__asm__(".globl _start\n_start: mov x29, #0\n bl start\n");
