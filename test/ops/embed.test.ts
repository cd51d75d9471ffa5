/** The ops around the transformer's blocks: patches, positions, timesteps, and the small elementwise ones. */
import { expect, test } from "vitest";
import { joinTokens } from "../../src/ops/join_tokens.ts";
import { padColumns } from "../../src/ops/pad_columns.ts";
import { patchify, unpatchify } from "../../src/ops/patchify.ts";
import { silu } from "../../src/ops/silu.ts";
import { timestepEmbedding } from "../../src/ops/timestep_embedding.ts";
import { expectClose, values } from "../support/compare.ts";
import { limitedGpu, runGraph } from "../support/gpu.ts";

test.each([[1, 1, 2], [2, 2, 2], [1, 3, 1]])("patchify and back: %d sample(s), patches of %d frames × %d²", async (n, pt, p) => {
  const [f, c, c2, h, w] = [2 * pt, 4, 4, 3 * p, 5 * p];
  const [x, extra] = [values(n * f * c * h * w, 1), values(n * f * c2 * h * w, 2)];
  const out = await runGraph((g) => {
    const latents = g.input("x", [n, f, c, h, w]);
    const tokens = patchify(latents, { patchSize: p, patchSizeT: pt, batch: 2 * n, extra: g.input("e", [n, f, c2, h, w]) });
    return { tokens, back: unpatchify(patchify(latents, { patchSize: p, patchSizeT: pt }), { patchSize: p, patchSizeT: pt, channels: c, frames: f, height: h, width: w }) };
  }, { inputs: { x, e: extra } });
  expectClose(out["back"]!, x, 0);
  const want: number[] = [];
  for (let b = 0; b < 2 * n; b++) for (let i = 0; i < f / pt; i++) for (let y = 0; y < h / p; y++) for (let z = 0; z < w / p; z++)
    for (let ch = 0; ch < c + c2; ch++) for (let t = 0; t < pt; t++) for (let r = 0; r < p; r++) for (let s = 0; s < p; s++) {
      const [source, channels, channel] = ch < c ? [x, c, ch] : [extra, c2, ch - c];
      want.push(source[((((b % n) * f + i * pt + t) * channels + channel) * h + y * p + r) * w + z * p + s]!);
    }
  expectClose(out["tokens"]!, want, 0);
});

test("sizes that patches do not divide are refused", async () => {
  await expect(runGraph((g) => ({ y: patchify(g.input("x", [1, 3, 4, 4, 4]), { patchSize: 2, patchSizeT: 2 }) }))).rejects.toThrow(/latent frames must be a multiple of 2/);
});

test.each([false, true])("text and video in one sequence with positions, narrow bindings %s", async (narrow) => {
  await using gpu = await limitedGpu(narrow ? { maxBindingBytes: 16384, maxGrid: 7 } : {});
  const [b, t, v, d] = [2, 5, 60, 64];
  const [text, video, position] = [values(b * t * d, 1), values(b * v * d, 2), values((t + v) * d, 3)];
  const out = await runGraph((g) => ({ y: joinTokens(g.input("t", [b, t, d]), g.input("v", [b, v, d]), g.input("p", [t + v, d])) }), { gpu, inputs: { t: text, v: video, p: position } });
  const want = new Float64Array(b * (t + v) * d);
  for (let i = 0; i < b; i++) for (let r = 0; r < t + v; r++) for (let c = 0; c < d; c++) {
    want[(i * (t + v) + r) * d + c] = (r < t ? text[(i * t + r) * d + c]! : video[(i * v + r - t) * d + c]!) + position[r * d + c]!;
  }
  expectClose(out["y"]!, want, 1e-7);
});

test.each([[true, 0], [false, 1]])("timesteps up to 999 keep their digits: cos first %s, shift %d", async (flipSinToCos, freqShift) => {
  const t = Float32Array.of(0, 1, 19, 499, 979, 999);
  const dim = 128;
  const out = await runGraph((g) => ({ y: timestepEmbedding(g.input("t", [t.length]), { dim, flipSinToCos, freqShift }) }), { inputs: { t } });
  const want = new Float64Array(t.length * dim);
  t.forEach((step, b) => {
    for (let i = 0; i < dim / 2; i++) {
      const angle = Math.fround(step * Math.fround(Math.exp(Math.fround(Math.fround(Math.fround(-Math.log(10000)) * i) / (dim / 2 - freqShift)))));
      want[b * dim + i] = flipSinToCos ? Math.cos(angle) : Math.sin(angle);
      want[b * dim + dim / 2 + i] = flipSinToCos ? Math.sin(angle) : Math.cos(angle);
    }
  });
  expectClose(out["y"]!, want, 1e-6, [t.length, dim]);
});

test("silu at both ends, and columns padded with zeros", async () => {
  const x = Float32Array.of(-1e30, -200, -1, -0.5, 0, 0.5, 1, 1e30);
  const out = await runGraph((g) => ({ y: silu(g.input("x", [8])), z: padColumns(g.input("w", [2, 3])) }), { inputs: { x, w: values(6, 1) } });
  expect(out["y"]!.every(Number.isFinite)).toBe(true);
  expectClose(out["y"]!.subarray(1), Array.from(x.subarray(1), (v) => v / (1 + Math.exp(-v))), 1e-6);
  const w = values(6, 1);
  expectClose(out["z"]!, [w[0]!, w[1]!, w[2]!, 0, w[3]!, w[4]!, w[5]!, 0], 0);
});
