/** Video tensors in the engine's layout, [B, T, H, W, C] with C padded to a multiple of 4. */
export const pad4 = (n: number): number => Math.ceil(n / 4) * 4;

/** Rows of `channels` values → rows padded with zeros. */
export function padChannels(data: ArrayLike<number>, channels: number): Float32Array {
  const rows = data.length / channels;
  const out = new Float32Array(rows * pad4(channels));
  for (let r = 0; r < rows; r++) for (let c = 0; c < channels; c++) out[r * pad4(channels) + c] = data[r * channels + c]!;
  return out;
}
