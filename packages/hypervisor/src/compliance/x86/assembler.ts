/**
 * A small x86-64 assembler: just the instructions that the compliance guests are written in (Intel SDM Vol. 2). It
 * writes 64-bit code; an `operand size` of 32 bits clears bits 63:32 as the architecture does. {@link RealModeAssembler}
 * is for the few instructions of 16-bit code that a processor begins with.
 */

/** Numbers of the general registers (Intel SDM Vol. 2 §3.1.1.1). */
export const R = {
  rax: 0,
  rcx: 1,
  rdx: 2,
  rbx: 3,
  rsp: 4,
  rbp: 5,
  rsi: 6,
  rdi: 7,
  r8: 8,
  r9: 9,
  r10: 10,
  r11: 11,
  r12: 12,
  r13: 13,
  r14: 14,
  r15: 15,
} as const;

export type RegisterName = keyof typeof R;

/** Condition codes (Intel SDM Vol. 1 appendix B). */
export const CONDITION = { b: 2, ae: 3, e: 4, ne: 5, be: 6, a: 7, s: 8, ns: 9 } as const;

export type X86Condition = keyof typeof CONDITION;

type Width = 1 | 2 | 4 | 8;
type PortWidth = 1 | 2 | 4;

/** What code of any mode needs: bytes and labels. */
abstract class ByteAssembler {
  protected readonly code: number[] = [];
  readonly #labels = new Map<string, number>();
  readonly #fixups: { readonly offset: number; readonly label: string }[] = [];

  /** Bytes emitted so far. */
  get offset(): number {
    return this.code.length;
  }

  /** Names the present place. */
  label(name: string): this {
    if (this.#labels.has(name)) throw new RangeError(`label '${name}' is defined twice`);
    this.#labels.set(name, this.offset);
    return this;
  }

  /** Byte offset of a label that is already defined. */
  offsetOf(name: string): number {
    const offset = this.#labels.get(name);
    if (offset === undefined) throw new RangeError(`label '${name}' is not defined`);
    return offset;
  }

  /** Raw bytes. */
  byte(...bytes: readonly number[]): this {
    for (const value of bytes) this.code.push(unsigned(value, 1));
    return this;
  }

  /** The finished code. */
  bytes(): Uint8Array {
    const bytes = new Uint8Array(this.code);
    const view = new DataView(bytes.buffer);
    for (const { offset, label } of this.#fixups) {
      view.setInt32(offset, this.offsetOf(label) - (offset + 4), true);
    }
    return bytes;
  }

  hlt(): this {
    return this.byte(0xf4);
  }

  cli(): this {
    return this.byte(0xfa);
  }

  sti(): this {
    return this.byte(0xfb);
  }

  /** A value of `width` bytes, little-endian. */
  protected value(value: number | bigint, width: Width): this {
    let rest = BigInt.asUintN(8 * width, BigInt(value));
    for (let index = 0; index < width; index++) {
      this.code.push(Number(rest & 0xffn));
      rest >>= 8n;
    }
    return this;
  }

  /** The 32-bit distance to a label from the end of this field. */
  protected distance(label: string): this {
    this.#fixups.push({ offset: this.offset, label });
    return this.value(0, 4);
  }
}

/** Builds 64-bit code; labels may be used before they are defined. */
export class X86Assembler extends ByteAssembler {
  // Moves and arithmetic

  /** Any 64-bit constant; one of 32 bits takes the short form. */
  movImmediate(register: RegisterName, value: number | bigint): this {
    const bits = BigInt.asUintN(64, BigInt(value));
    const number = R[register];
    if (bits >> 32n === 0n)
      return this.#rex(0, 0, 0, number)
        .byte(0xb8 + (number & 7))
        .value(bits, 4);
    return this.#rex(1, 0, 0, number)
      .byte(0xb8 + (number & 7))
      .value(bits, 8);
  }

  mov(to: RegisterName, from: RegisterName): this {
    return this.#registers([0x89], from, to);
  }

  add(to: RegisterName, from: RegisterName): this {
    return this.#registers([0x01], from, to);
  }

  sub(to: RegisterName, from: RegisterName): this {
    return this.#registers([0x29], from, to);
  }

  xor(to: RegisterName, from: RegisterName): this {
    return this.#registers([0x31], from, to);
  }

  test(left: RegisterName, right: RegisterName): this {
    return this.#registers([0x85], right, left);
  }

  cmp(left: RegisterName, right: RegisterName): this {
    return this.#registers([0x39], right, left);
  }

  addImmediate(register: RegisterName, immediate: number): this {
    return this.#rex(1, 0, 0, R[register])
      .byte(0x81, 0xc0 | (R[register] & 7))
      .value(immediate, 4);
  }

  subImmediate(register: RegisterName, immediate: number): this {
    return this.#rex(1, 0, 0, R[register])
      .byte(0x81, 0xe8 | (R[register] & 7))
      .value(immediate, 4);
  }

  shl(register: RegisterName, count: number): this {
    return this.#rex(1, 0, 0, R[register]).byte(0xc1, 0xe0 | (R[register] & 7), unsigned(count, 1));
  }

  // Memory: [base + displacement]

  /** MOV, or MOVZX of the narrow widths: always extended with zeros. */
  load(width: Width, register: RegisterName, base: RegisterName, displacement = 0): this {
    const opcode = { 1: [0x0f, 0xb6], 2: [0x0f, 0xb7], 4: [0x8b], 8: [0x8b] }[width];
    return this.#memory(width === 8 ? 1 : 0, opcode, R[register], base, displacement);
  }

  /** MOV of the register's low bytes. */
  store(width: Width, register: RegisterName, base: RegisterName, displacement = 0): this {
    if (width === 2) this.byte(0x66);
    const wide = width === 8 ? 1 : 0;
    // With any REX prefix, the byte registers are SPL, BPL, SIL and DIL rather than AH to BH.
    return this.#memory(wide, [width === 1 ? 0x88 : 0x89], R[register], base, displacement, width === 1);
  }

  /** MOV of a 32-bit immediate. */
  storeImmediate(value: number, base: RegisterName, displacement = 0): this {
    return this.#memory(0, [0xc7], 0, base, displacement).value(value, 4);
  }

  /** LOCK INC of 64 bits. */
  lockIncrement(base: RegisterName, displacement = 0): this {
    return this.byte(0xf0).#memory(1, [0xff], 0, base, displacement);
  }

  push(register: RegisterName): this {
    return this.#rex(0, 0, 0, R[register]).byte(0x50 + (R[register] & 7));
  }

  pop(register: RegisterName): this {
    return this.#rex(0, 0, 0, R[register]).byte(0x58 + (R[register] & 7));
  }

  /** PUSH of a 32-bit immediate, extended with its sign. */
  pushImmediate(value: number): this {
    return this.byte(0x68).value(value, 4);
  }

  // Branches

  jmp(label: string): this {
    return this.byte(0xe9).distance(label);
  }

  jcc(condition: X86Condition, label: string): this {
    return this.byte(0x0f, 0x80 | CONDITION[condition]).distance(label);
  }

  /** JMP to the address in a register. */
  jmpTo(register: RegisterName): this {
    return this.#rex(0, 0, 0, R[register]).byte(0xff, 0xe0 | (R[register] & 7));
  }

  iretq(): this {
    return this.byte(0x48, 0xcf);
  }

  /** LEA of a label, relative to RIP. */
  lea(register: RegisterName, label: string): this {
    return this.#rex(1, R[register], 0, 0)
      .byte(0x8d, 0x05 | ((R[register] & 7) << 3))
      .distance(label);
  }

  // Ports

  /** OUT of AL, AX or EAX to a port below 256. */
  out(width: PortWidth, port: number): this {
    return this.#operand(width).byte(width === 1 ? 0xe6 : 0xe7, unsigned(port, 1));
  }

  /** IN to AL, AX or EAX from a port below 256. */
  in(width: PortWidth, port: number): this {
    return this.#operand(width).byte(width === 1 ? 0xe4 : 0xe5, unsigned(port, 1));
  }

  /** OUT of AL, AX or EAX to port DX. */
  outDx(width: PortWidth): this {
    return this.#operand(width).byte(width === 1 ? 0xee : 0xef);
  }

  /** IN to AL, AX or EAX from port DX. */
  inDx(width: PortWidth): this {
    return this.#operand(width).byte(width === 1 ? 0xec : 0xed);
  }

  /** REP OUTS: RCX values from [RSI] to port DX. */
  repOuts(width: PortWidth): this {
    return this.#operand(width).byte(0xf3, width === 1 ? 0x6e : 0x6f);
  }

  /** REP INS: RCX values from port DX to [RDI]. */
  repIns(width: PortWidth): this {
    return this.#operand(width).byte(0xf3, width === 1 ? 0x6c : 0x6d);
  }

  // System

  nop(): this {
    return this.byte(0x90);
  }

  cpuid(): this {
    return this.byte(0x0f, 0xa2);
  }

  rdmsr(): this {
    return this.byte(0x0f, 0x32);
  }

  wrmsr(): this {
    return this.byte(0x0f, 0x30);
  }

  /** FNSTCW to 2 bytes of memory. */
  fnstcw(base: RegisterName, displacement = 0): this {
    return this.#memory(0, [0xd9], 7, base, displacement);
  }

  /** The instruction that is always undefined. */
  ud2(): this {
    return this.byte(0x0f, 0x0b);
  }

  #operand(width: PortWidth): this {
    return width === 2 ? this.byte(0x66) : this;
  }

  /** A REX prefix, left out when it says nothing. */
  #rex(w: number, reg: number, index: number, rm: number, always = false): this {
    const prefix = 0x40 | (w << 3) | ((reg >> 3) << 2) | ((index >> 3) << 1) | (rm >> 3);
    return prefix === 0x40 && !always ? this : this.byte(prefix);
  }

  #registers(opcode: readonly number[], reg: RegisterName, rm: RegisterName): this {
    return this.#rex(1, R[reg], 0, R[rm]).byte(...opcode, 0xc0 | ((R[reg] & 7) << 3) | (R[rm] & 7));
  }

  /** ModRM with base and a displacement of 32 bits; a SIB byte where the base asks for it. */
  #memory(
    wide: 0 | 1,
    opcode: readonly number[],
    reg: number,
    base: RegisterName,
    displacement: number,
    always = false,
  ): this {
    const number = R[base];
    this.#rex(wide, reg, 0, number, always).byte(...opcode, 0x80 | ((reg & 7) << 3) | (number & 7));
    if ((number & 7) === R.rsp) this.byte(0x24);
    return this.value(displacement, 4);
  }
}

/** The 16-bit code with which a processor begins after a start-up IPI. */
export class RealModeAssembler extends ByteAssembler {
  /** MOV AL, immediate. */
  movAl(value: number): this {
    return this.byte(0xb0, unsigned(value, 1));
  }

  /** OUT of AL to a port below 256. */
  outAl(port: number): this {
    return this.byte(0xe6, unsigned(port, 1));
  }

  /** JMP to a label. */
  jmp(label: string): this {
    return this.byte(0x66, 0xe9).distance(label);
  }
}

function unsigned(value: number, width: Width): number {
  if (!Number.isInteger(value) || value < 0 || value >= 256 ** width) {
    throw new RangeError(`${value} does not fit in ${8 * width} bits`);
  }
  return value;
}
