/** Group norm over tiles: the statistics of their slices, merged exactly (Chan, Golub & LeVeque 1983). */

/** Statistics of slices, merged exactly in f64 as they come. */
export class MergedStatistics {
  /** For each batch entry and channel: count, mean, sum of squared deviations. */
  #n = new Float64Array(0);
  #mean = new Float64Array(0);
  #m2 = new Float64Array(0);
  #channels = 0;

  /** stats [B, slices, 3, C] */
  add(stats: Float32Array, channels: number, batches: number): void {
    if (this.#n.length === 0) {
      [this.#n, this.#mean, this.#m2] = [
        new Float64Array(batches * channels),
        new Float64Array(batches * channels),
        new Float64Array(batches * channels),
      ];
      this.#channels = channels;
    }
    const slices = stats.length / (3 * channels * batches);
    for (let b = 0; b < batches; b++)
      for (let s = 0; s < slices; s++)
        for (let c = 0; c < channels; c++) {
          const at = (b * slices + s) * 3 * channels + c;
          this.#merge(b * channels + c, stats[at]!, stats[at + channels]!, stats[at + 2 * channels]!);
        }
  }

  #merge(i: number, n: number, mean: number, m2: number): void {
    const sum = this.#n[i]! + n;
    if (n === 0) return;
    const delta = mean - this.#mean[i]!;
    this.#m2[i]! += m2 + (delta * delta * this.#n[i]! * n) / sum;
    this.#mean[i]! += (delta * n) / sum;
    this.#n[i] = sum;
  }

  /** [B, 2, C]: mean and 1/√(variance + eps) of each channel's group, as group_norm_merge gives them. */
  norm({ channels, groups, eps }: { channels: number; groups: number; eps: number }): Float32Array {
    const padded = this.#channels;
    const out = new Float32Array((this.#n.length / padded) * 2 * padded);
    const size = channels / groups;
    for (let b = 0; b < this.#n.length / padded; b++)
      for (let g = 0; g < groups; g++) {
        let [n, mean, m2] = [0, 0, 0];
        for (let c = 0; c < size; c++) {
          const i = b * padded + g * size + c;
          const sum = n + this.#n[i]!;
          const delta = this.#mean[i]! - mean;
          m2 += this.#m2[i]! + (delta * delta * n * this.#n[i]!) / sum;
          mean += (delta * this.#n[i]!) / sum;
          n = sum;
        }
        for (let c = 0; c < size; c++) {
          out[b * 2 * padded + g * size + c] = mean;
          out[(b * 2 + 1) * padded + g * size + c] = 1 / Math.sqrt(m2 / n + eps);
        }
      }
    return out;
  }
}
