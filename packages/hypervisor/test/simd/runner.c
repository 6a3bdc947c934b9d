// Executes single A64 instructions on given states under qemu-aarch64, for comparison with the engine.
// stdin: groups of { struct state, u32 instructions[count] }; stdout: one struct result per instruction.
// Built without a C library so that a bare cross compiler suffices.
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

#define MEMORY 0x10000000UL
#define MEMORY_SIZE 256

struct state {
  u64 v[64];
  u64 x[31];
  u32 nzcv, fpcr, fpsr, count;
  u64 pad;
  u64 memory[MEMORY_SIZE / 8];
};

struct result {
  u64 v[2];
  u64 x;
  u32 nzcv, fpsr, illegal, pad;
  u64 hash;
};

static long call(long number, long a, long b, long c, long d, long e, long f) {
  register long x8 asm("x8") = number;
  register long x0 asm("x0") = a;
  register long x1 asm("x1") = b;
  register long x2 asm("x2") = c;
  register long x3 asm("x3") = d;
  register long x4 asm("x4") = e;
  register long x5 asm("x5") = f;
  asm volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return x0;
}

static void quit(long code) {
  call(94, code, 0, 0, 0, 0, 0);
}

static long take(void *to, long size) {
  long done = 0;
  while (done < size) {
    long n = call(63, 0, (long)to + done, size - done, 0, 0, 0);
    if (n <= 0) return done;
    done += n;
  }
  return done;
}

static void give(const void *from, long size) {
  long done = 0;
  while (done < size) {
    long n = call(64, 1, (long)from + done, size - done, 0, 0, 0);
    if (n <= 0) quit(2);
    done += n;
  }
}

static volatile u32 illegal;

// Offset of the saved pc in the kernel's struct ucontext.
#define CONTEXT_PC 440

static void onIllegal(int signal, void *info, u8 *context) {
  illegal = 1;
  *(u64 *)(context + CONTEXT_PC) += 4;
}

struct action {
  void (*handler)(int, void *, u8 *);
  u64 flags;
  void *restorer;
  u64 mask;
};

void runCode(struct state *state, void *code);
asm(
  ".globl runCode\n"
  "runCode:\n"
  "  stp x29, x30, [sp, #-176]!\n"
  "  stp x19, x20, [sp, #16]\n"
  "  stp x21, x22, [sp, #32]\n"
  "  stp x23, x24, [sp, #48]\n"
  "  stp x25, x26, [sp, #64]\n"
  "  stp x27, x28, [sp, #80]\n"
  "  stp d8, d9, [sp, #96]\n"
  "  stp d10, d11, [sp, #112]\n"
  "  stp d12, d13, [sp, #128]\n"
  "  stp d14, d15, [sp, #144]\n"
  "  mov x19, x0\n"
  "  mov x20, x1\n"
  "  ldr w1, [x19, #760]\n"
  "  msr nzcv, x1\n"
  "  ldr w1, [x19, #764]\n"
  "  msr fpcr, x1\n"
  "  ldr w1, [x19, #768]\n"
  "  msr fpsr, x1\n"
  "  .irp n, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30\n"
  "  ldr q\\n, [x19, #\\n * 16]\n"
  "  .endr\n"
  "  .irp n, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31\n"
  "  ldr q\\n, [x19, #\\n * 16]\n"
  "  .endr\n"
  "  .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
  "  ldr x\\n, [x19, #512 + \\n * 8]\n"
  "  .endr\n"
  "  blr x20\n"
  "  .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
  "  str x\\n, [x19, #512 + \\n * 8]\n"
  "  .endr\n"
  "  .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
  "  str q\\n, [x19, #\\n * 16]\n"
  "  .endr\n"
  "  .irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31\n"
  "  str q\\n, [x19, #\\n * 16]\n"
  "  .endr\n"
  "  mrs x1, nzcv\n"
  "  str w1, [x19, #760]\n"
  "  mrs x1, fpsr\n"
  "  str w1, [x19, #768]\n"
  "  msr fpcr, xzr\n"
  "  ldp x19, x20, [sp, #16]\n"
  "  ldp x21, x22, [sp, #32]\n"
  "  ldp x23, x24, [sp, #48]\n"
  "  ldp x25, x26, [sp, #64]\n"
  "  ldp x27, x28, [sp, #80]\n"
  "  ldp d8, d9, [sp, #96]\n"
  "  ldp d10, d11, [sp, #112]\n"
  "  ldp d12, d13, [sp, #128]\n"
  "  ldp d14, d15, [sp, #144]\n"
  "  ldp x29, x30, [sp], #176\n"
  "  ret\n");

static void copy(u64 *to, const u64 *from, u32 count) {
  for (u32 i = 0; i < count; i++) {
    asm volatile("" ::: "memory");
    to[i] = from[i];
  }
}

static u64 mix(u64 hash, const u64 *words, u32 count) {
  for (u32 i = 0; i < count; i++) hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15UL + (hash >> 29);
  return hash;
}

static struct state initial, work;
static u32 instructions[65536];
static struct result results[65536];

void _start(void) {
  struct action action = { onIllegal, 4, 0, 0 };
  call(134, 4, (long)&action, 0, 8, 0, 0);
  u64 *memory = (u64 *)call(222, MEMORY, 4096, 3, 0x32, -1, 0);
  u32 *code = (u32 *)call(222, 0, sizeof instructions * 2, 7, 0x22, -1, 0);
  if ((u64)memory != MEMORY || (long)code < 0) quit(3);
  for (;;) {
    if (take(&initial, sizeof initial) != sizeof initial) quit(0);
    u32 count = initial.count;
    if (count > 65536 || take(instructions, count * 4) != count * 4) quit(4);
    for (u32 i = 0; i < count; i++) {
      code[2 * i] = instructions[i];
      code[2 * i + 1] = 0xd65f03c0;
    }
    for (u32 i = 0; i < count * 2; i += 4)
      asm volatile("dc cvau, %0\n dsb ish\n ic ivau, %0\n" :: "r"(code + i) : "memory");
    asm volatile("dsb ish\n isb" ::: "memory");
    for (u32 i = 0; i < count; i++) {
      copy((u64 *)&work, (u64 *)&initial, sizeof work / 8);
      copy(memory, initial.memory, MEMORY_SIZE / 8);
      illegal = 0;
      runCode(&work, code + 2 * i);
      u32 rd = instructions[i] & 31;
      results[i] = (struct result){
        { work.v[2 * rd], work.v[2 * rd + 1] }, rd < 16 ? work.x[rd] : 0, work.nzcv, work.fpsr, illegal, 0, 0
      };
      results[i].hash = mix(mix(mix(0, work.v, 64), work.x, 16), memory, MEMORY_SIZE / 8);
    }
    give(results, count * sizeof results[0]);
  }
}
