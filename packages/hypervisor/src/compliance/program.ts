/** A general register of a guest program: X0…X3 of AArch64; RAX, RBX, RCX, RDX of x86-64. */
export type GuestRegister = 'a' | 'b' | 'c' | 'd';

/** Width of an access in bytes. */
export type GuestWidth = 1 | 2 | 4 | 8;

/** What guests of every architecture can be told to do. Addresses are guest physical. */
export interface GuestProgram {
  set(register: GuestRegister, value: number | bigint): this;
  /** @param immediate 0…4095 */
  add(register: GuestRegister, immediate: number): this;
  /** @param immediate 0…4095 */
  subtract(register: GuestRegister, immediate: number): this;
  addRegister(register: GuestRegister, other: GuestRegister): this;
  /** Loads, extended with zeros to 64 bits. */
  load(width: GuestWidth, register: GuestRegister, address: number): this;
  /** Stores the register's low bytes. */
  store(width: GuestWidth, register: GuestRegister, address: number): this;
  /** Adds 1 to 64 bits in memory, atomically; changes `c` and `d`. */
  incrementAtomically(address: number): this;
  label(name: string): this;
  jump(label: string): this;
  jumpIfNotZero(register: GuestRegister, label: string): this;
  /** Waits for an interrupt (WFI, HLT), and for ever if there is none. */
  wait(): this;
  /** Ends the machine: PSCI SYSTEM_OFF, or a triple fault. */
  end(): this;
}
