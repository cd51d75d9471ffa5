/** The two layouts of latents: the VAE puts channels before frames, the transformer frames before channels. */

/** Latents as the VAE has them, [n, C, F, h, w], to the transformer's [n, F, C, h, w], times `scale`. */
export function fromVae(latents: Float32Array, shape: readonly [number, number, number, number, number], scale: number): Float32Array {
  const [n, c, f, h, w] = shape;
  const plane = h * w;
  const out = new Float32Array(latents.length);
  for (let b = 0; b < n; b++)
    for (let i = 0; i < c; i++)
      for (let t = 0; t < f; t++) {
        const from = ((b * c + i) * f + t) * plane;
        const to = ((b * f + t) * c + i) * plane;
        for (let p = 0; p < plane; p++) out[to + p] = latents[from + p]! * scale;
      }
  return out;
}

/** The transformer's [n, F, C, h, w] to the VAE's [n, C, F − skip, h, w], times `scale`; the first frames are padding of 1.5 models. */
export function toVae(
  latents: Float32Array,
  s: { samples: number; frames: number; channels: number; height: number; width: number; skip: number },
  scale: number,
): Float32Array {
  const plane = s.height * s.width;
  const frames = s.frames - s.skip;
  const out = new Float32Array(s.samples * s.channels * frames * plane);
  for (let n = 0; n < s.samples; n++)
    for (let f = 0; f < frames; f++)
      for (let c = 0; c < s.channels; c++) {
        const from = ((n * s.frames + f + s.skip) * s.channels + c) * plane;
        const to = ((n * s.channels + c) * frames + f) * plane;
        for (let i = 0; i < plane; i++) out[to + i] = latents[from + i]! * scale;
      }
  return out;
}
