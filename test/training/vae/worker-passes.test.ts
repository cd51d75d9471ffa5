/** `trainVae` with clips split in time: the run of one graph, and however many workers there are the bytes of one. */
import { expect, test } from "vitest";
import { vaeGraph } from "../../../src/models/vae/batches.ts";
import { conv3dOp } from "../../../src/ops/conv3d.ts";
import { weightsOf } from "../../../src/graph/weights-of.ts";
import type { TrainVaeOptions } from "../../../src/training/vae/options.ts";
import { clips, judges, taken, tinyVae } from "../../support/vae-training.ts";

test("with LPIPS and a discriminator two workers have the bytes of one, a run that goes on too, and the losses of one graph", {
  timeout: 120_000,
}, async () => {
  const vae = await tinyVae();
  const data = clips(vae, 2, [9, 16, 16]);
  const options = (workers?: number): TrainVaeOptions => {
    const { lpips, discriminator } = judges();
    return {
      ...{ lpips, discriminator: { ...discriminator, start: 0 } },
      ...{ part: "both", steps: 2, seed: 3, ema: { decay: 0.5 }, optimizer: { lr: 1e-3 } },
      losses: { perceptual: 0.5, disc: 0.2, kl: 1e-3 },
      ...(workers ? { workers } : {}),
    };
  };
  const [none, one] = [await taken(vae, data, options(), 1), await taken(vae, data, options(1))];
  for (const [i, { losses, gradNorm }] of none.steps.entries()) {
    const got = one.steps[i]!;
    expect(Object.keys(got.losses)).toEqual(Object.keys(losses));
    for (const [name, loss] of Object.entries(losses)) expect(got.losses[name]! / loss, `${name} of step ${i + 1}`).toBeCloseTo(1, 4);
    expect(got.gradNorm / gradNorm).toBeCloseTo(1, 4);
  }
  const first = await taken(vae, data, options(2), 1);
  expect((await taken(vae, data, { ...options(1), resume: first.saved })).saved).toEqual(one.saved);
});

test("of a clip of 33 frames four workers, of two and three latent frames, have the bytes of one", { timeout: 120_000 }, async () => {
  const vae = await tinyVae();
  const options: TrainVaeOptions = { part: "both", steps: 1, seed: 5, optimizer: { lr: 1e-3 }, losses: { kl: 1e-3 } };
  const of = (workers: number) => taken(vae, clips(vae, 1, [33, 8, 8]), { ...options, workers });
  const [one, four] = [await of(1), await of(4)];
  expect(four.saved).toEqual(one.saved);
  // Of the encoder pieces of frames, of the decoder of latent frames: whole ones, all of them, in order.
  const pieces = four.steps[0]!.workers!.map(({ from, to }) => [from, to]);
  expect(pieces.map(([from], i) => from === (pieces[i - 1]?.[1] ?? 0))).toEqual([true, true, true, true]);
  expect([pieces.map(([from, to]) => to! - from!).sort(), pieces.at(-1)![1]]).toEqual([[2, 2, 2, 3], 9]);
});

test("workers hand on what convolutions look back on, its gradients, and the sums of weights' gradients, and no more", {
  timeout: 60_000,
}, async () => {
  const vae = await tinyVae();
  const [frames, side] = [17, 16];
  const { steps } = await taken(vae, clips(vae, 1, [frames, side, side]), { steps: 1, part: "both", workers: 2 });
  const [earlier, later] = steps[0]!.workers!;
  const halo = (part: "encode" | "decode"): { readonly frames: number; readonly weights: number } => {
    const size = part === "encode" ? side : side / 8;
    const shape = { part, batch: 1, frames: 1, height: size, width: size, format: "sample", dtype: "f32" } as const;
    const graph = vaeGraph(vae.config, { type: () => "f32" }, { ...shape, continues: false, continued: true });
    const bytes = graph.nodes.reduce((sum, { op, inputs: { x, w } }) => {
      if (op !== conv3dOp || w!.shape.length !== 5 || w!.dim(2) !== 3) return sum;
      return sum + 2 * x!.dim(2) * x!.dim(3) * w!.dim(1) * 4;
    }, 0);
    // A norm's are added up by who holds the end of a batch: here that is the later one.
    const sent = [...weightsOf(graph)].filter(([name]) => !/norm(?:\d|_out|_layer)\.(?:weight|bias)$/.test(name));
    const weights = sent.reduce((sum, [, of]) => sum + 4 * of.reduce((a, b) => a * b, 1), 0);
    return { frames: bytes, weights };
  };
  const [encoder, decoder] = [halo("encode"), halo("decode")];
  // The encoder goes forward twice, to draw latents and for its gradients.
  expect(earlier!.haloBytes).toBe(2 * encoder.frames + decoder.frames);
  expect(later!.haloBytes).toBe(encoder.frames + encoder.weights + decoder.frames + decoder.weights);
  expect([earlier!.from, earlier!.to, later!.from, later!.to]).toEqual([0, 2, 2, 5]);
});

test("more workers than latent frames, and none, are refused", async () => {
  const vae = await tinyVae();
  const data = clips(vae, 1);
  const with_ = (more: TrainVaeOptions) => taken(vae, data, { steps: 1, ...more });
  await expect(with_({ workers: 4 })).rejects.toThrow(
    /^\[vae\] a clip is split in time into whole latent frames, at most 3 for this one, got 4/,
  );
  await expect(with_({ workers: 0 })).rejects.toThrow(/^\[training\] workers must be a whole number from 1, got 0/);
  await expect(with_({ workers: 2, passes: "batches" })).rejects.toThrow(/^\[training\] workers split a clip whose norms are over batches/);
});
