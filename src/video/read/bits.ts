/** Bits of a header, the highest of a byte first. Beyond the end are zeros, so that a header cut short ends nothing but itself. */
export class Bits {
  /** In bits from the start. */
  at = 0;
  constructor(readonly bytes: Uint8Array) {}

  get ended(): boolean {
    return this.at > 8 * this.bytes.length;
  }

  read(count: number): number {
    let value = 0;
    for (let i = 0; i < count; i++, this.at++) value = value * 2 + (((this.bytes[this.at >> 3] ?? 0) >> (7 - (this.at & 7))) & 1);
    return value;
  }

  flag(): boolean {
    return this.read(1) === 1;
  }

  skip(count: number): void {
    this.at += count;
  }

  /** Exp-Golomb, not negative: `ue(v)` of H.264 and HEVC, `uvlc` of AV1. */
  unsigned(): number {
    let zeros = 0;
    while (zeros < 32 && !this.ended && !this.flag()) zeros++;
    return zeros >= 32 || this.ended ? 2 ** 32 - 1 : 2 ** zeros - 1 + this.read(zeros);
  }

  /** Exp-Golomb, `se(v)`. */
  signed(): number {
    const value = this.unsigned();
    return value & 1 ? (value + 1) / 2 : -value / 2;
  }
}
