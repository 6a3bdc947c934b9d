import type { GuestProgram, GuestRegister, GuestWidth } from '../program.ts';
import { X86Assembler } from './assembler.ts';

/** Registers that {@link GuestRegister} names. */
export const REGISTER: Readonly<Record<GuestRegister, 'rax' | 'rbx' | 'rcx' | 'rdx'>> = {
  a: 'rax',
  b: 'rbx',
  c: 'rcx',
  d: 'rdx',
};

/** {@link GuestProgram} in 64-bit code; R11 holds the address of an access. */
export class X86Program implements GuestProgram {
  readonly assembler: X86Assembler = new X86Assembler();

  set(register: GuestRegister, value: number | bigint): this {
    this.assembler.movImmediate(REGISTER[register], value);
    return this;
  }

  add(register: GuestRegister, immediate: number): this {
    this.assembler.addImmediate(REGISTER[register], immediate);
    return this;
  }

  subtract(register: GuestRegister, immediate: number): this {
    this.assembler.subImmediate(REGISTER[register], immediate);
    return this;
  }

  addRegister(register: GuestRegister, other: GuestRegister): this {
    this.assembler.add(REGISTER[register], REGISTER[other]);
    return this;
  }

  load(width: GuestWidth, register: GuestRegister, address: number): this {
    this.assembler.movImmediate('r11', address).load(width, REGISTER[register], 'r11');
    return this;
  }

  store(width: GuestWidth, register: GuestRegister, address: number): this {
    this.assembler.movImmediate('r11', address).store(width, REGISTER[register], 'r11');
    return this;
  }

  incrementAtomically(address: number): this {
    this.assembler.movImmediate('r11', address).lockIncrement('r11');
    return this;
  }

  label(name: string): this {
    this.assembler.label(name);
    return this;
  }

  jump(label: string): this {
    this.assembler.jmp(label);
    return this;
  }

  jumpIfNotZero(register: GuestRegister, label: string): this {
    this.assembler.test(REGISTER[register], REGISTER[register]).jcc('ne', label);
    return this;
  }

  wait(): this {
    this.assembler.hlt();
    return this;
  }

  /** Without an interrupt table, the exception's exception is a triple fault (Intel SDM Vol. 3 §6.15, #DF). */
  end(): this {
    this.assembler.ud2();
    return this;
  }
}
