import type { GuestProgram, GuestRegister, GuestWidth } from '../program.ts';
import { Assembler, XZR } from './assembler.ts';

/** Registers that {@link GuestRegister} names. */
export const REGISTER: Readonly<Record<GuestRegister, number>> = { a: 0, b: 1, c: 2, d: 3 };

/** Holds the address of an access. */
const X_ADDRESS = 9;

// DEN 0022 5.
const PSCI_SYSTEM_OFF = 0x8400_0008;

/** {@link GuestProgram} in A64. */
export class Aarch64Program implements GuestProgram {
  readonly assembler: Assembler = new Assembler();
  #labels = 0;

  set(register: GuestRegister, value: number | bigint): this {
    this.assembler.movImmediate(REGISTER[register], value);
    return this;
  }

  add(register: GuestRegister, immediate: number): this {
    this.assembler.addImmediate(REGISTER[register], REGISTER[register], immediate);
    return this;
  }

  subtract(register: GuestRegister, immediate: number): this {
    this.assembler.subImmediate(REGISTER[register], REGISTER[register], immediate);
    return this;
  }

  addRegister(register: GuestRegister, other: GuestRegister): this {
    this.assembler.add(REGISTER[register], REGISTER[register], REGISTER[other]);
    return this;
  }

  load(width: GuestWidth, register: GuestRegister, address: number): this {
    this.assembler.movImmediate(X_ADDRESS, address).load(width, REGISTER[register], X_ADDRESS);
    return this;
  }

  store(width: GuestWidth, register: GuestRegister, address: number): this {
    this.assembler.movImmediate(X_ADDRESS, address).store(width, REGISTER[register], X_ADDRESS);
    return this;
  }

  incrementAtomically(address: number): this {
    const label = `increment${this.#labels++}`;
    this.assembler.movImmediate(X_ADDRESS, address).label(label).loadExclusive(REGISTER.c, X_ADDRESS);
    this.assembler.addImmediate(REGISTER.c, REGISTER.c, 1);
    this.assembler.storeExclusive(REGISTER.d, REGISTER.c, X_ADDRESS).cbnz(REGISTER.d, label);
    return this;
  }

  label(name: string): this {
    this.assembler.label(name);
    return this;
  }

  jump(label: string): this {
    this.assembler.b(label);
    return this;
  }

  jumpIfNotZero(register: GuestRegister, label: string): this {
    this.assembler.cbnz(REGISTER[register], label);
    return this;
  }

  wait(): this {
    this.assembler.wfi();
    return this;
  }

  end(): this {
    this.assembler.movImmediate(0, PSCI_SYSTEM_OFF).mov(1, XZR).hvc(0);
    return this;
  }
}
