// The rules of the 82093AA (290566, chapter 3), one object per input, with 64-bit entries as the manual draws them.

interface ModelInput {
  entry: bigint;
  asserted: boolean;
}

export interface ModelMessage {
  readonly address: number;
  readonly data: number;
}

export class IoApicModel {
  readonly inputs: ModelInput[];
  readonly sent: ModelMessage[] = [];
  /** Whether local APICs take messages. */
  accepting = true;

  constructor(inputs: number) {
    this.inputs = Array.from({ length: inputs }, () => ({ entry: 1n << 16n, asserted: false }));
  }

  field(input: number, high: number, low: number): number {
    return Number((this.inputs[input]!.entry >> BigInt(low)) & ((1n << BigInt(high - low + 1)) - 1n));
  }

  writeLow(input: number, value: number): void {
    const writable = 0x1_afffn;
    const one = this.inputs[input]!;
    const before = one.entry;
    one.entry = (before & ~0xffff_ffffn) | (BigInt(value) & writable);
    if (this.level(input)) one.entry |= before & (1n << 14n);
    this.look(input);
  }

  writeHigh(input: number, value: number): void {
    const one = this.inputs[input]!;
    one.entry = (one.entry & 0xffff_ffffn) | ((BigInt(value) >> 24n) << 56n);
    this.look(input);
  }

  setLine(input: number, asserted: boolean): void {
    const one = this.inputs[input]!;
    const rose = asserted && !one.asserted;
    one.asserted = asserted;
    if (this.level(input)) this.look(input);
    else if (rose && this.field(input, 16, 16) === 0) this.send(input);
  }

  pulse(input: number): void {
    if (this.inputs[input]!.asserted) return;
    this.setLine(input, true);
    this.setLine(input, false);
  }

  end(vector: number): void {
    this.inputs.forEach((one, input) => {
      if (this.field(input, 14, 14) === 0 || this.field(input, 7, 0) !== vector) return;
      one.entry &= ~(1n << 14n);
      this.look(input);
    });
  }

  message(input: number): ModelMessage | undefined {
    const mode = this.field(input, 10, 8);
    if (mode === 3 || mode === 6 || mode === 7) return undefined;
    const vector = this.field(input, 7, 0);
    if (mode < 2 && vector < 16) return undefined;
    return {
      address:
        0xfee0_0000 +
        this.field(input, 63, 56) * 0x1000 +
        (mode === 1 ? 8 : 0) +
        this.field(input, 11, 11) * 4,
      data: vector + mode * 0x100 + 0x4000 + (this.level(input) ? 0x8000 : 0),
    };
  }

  /** A level-triggered input keeps its route while masked. */
  route(input: number): ModelMessage | undefined {
    return this.field(input, 16, 16) === 0 || this.level(input) ? this.message(input) : undefined;
  }

  private level(input: number): boolean {
    return this.field(input, 15, 15) === 1 && this.field(input, 10, 8) < 2;
  }

  private look(input: number): void {
    const one = this.inputs[input]!;
    if (!one.asserted || !this.level(input)) return;
    if (this.field(input, 16, 16) === 1 || this.field(input, 14, 14) === 1) return;
    if (this.send(input)) one.entry |= 1n << 14n;
  }

  private send(input: number): boolean {
    const message = this.message(input);
    if (message === undefined) return false;
    this.sent.push(message);
    return this.accepting;
  }
}
