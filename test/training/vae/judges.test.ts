/** `trainVae` with LPIPS and a discriminator: what they count, learn and tell. */
import { describe, expect, test } from "vitest";
import { openSafetensors } from "../../../src/files/safetensors.ts";
import { leastClip, parseDiscriminatorConfig } from "../../../src/models/discriminator/config.ts";
import { initialDiscriminator } from "../../../src/models/discriminator/initial.ts";
import { memorySource } from "../../../src/sources/memory.ts";
import type { OptimizerOptions } from "../../../src/training/optimizer.ts";
import { stateName } from "../../../src/training/update.ts";
import { discriminatorMicro } from "../../../src/training/vae/judges.ts";
import type { TrainVaeOptions } from "../../../src/training/vae/options.ts";
import type { PixelSample } from "../../../src/training/vae/sample.ts";
import { trainVae } from "../../../src/training/vae/train-vae.ts";
import { VaeTrainer } from "../../../src/training/vae/trainer.ts";
import { values } from "../../support/compare.ts";
import { clips, judges, stopped, taken, tinyVae } from "../../support/vae-training.ts";

describe("with networks that judge", { timeout: 240_000 }, () => {
  test("both are asked from their first step on, and the same bytes come of a run that stops before or after it", async () => {
    const vae = await tinyVae();
    const data = clips(vae, 4, [9, 16, 16]);
    const options: TrainVaeOptions = {
      ...judges(),
      ...{ part: "decoder", steps: 4, seed: 2, ema: { decay: 0.5 }, optimizer: { lr: 0.005 } },
      losses: { perceptual: 0.5, disc: 0.2 },
    };
    const whole = await taken(vae, data, options);
    for (const [i, { losses, loss }] of whole.steps.entries()) {
      expect(losses["lpips"]).toBeGreaterThan(0);
      expect([losses["generator"] !== undefined, losses["discriminator"] !== undefined]).toEqual([i >= 2, i >= 2]);
      expect(loss).toBeCloseTo(losses["l1"]! + 0.5 * losses["lpips"]! + (losses["generator"] ?? 0), 5);
    }
    // One that does not learn says the same of the first clips, and something else of the next.
    const still = await taken(vae, data, { ...options, discriminator: { ...options.discriminator!, lr: 0 } });
    const said = ({ steps }: typeof whole) => steps.map(({ losses }) => losses["discriminator"]);
    expect(said(still)[2]).toBe(said(whole)[2]);
    expect(said(still)[3]).not.toBe(said(whole)[3]);
    expect(whole.steps.map(({ discriminator }) => discriminator && [discriminator.taken, discriminator.gradNorm > 0])).toEqual([
      undefined,
      undefined,
      [true, true],
      [true, true],
    ]);
    for (const stop of [1, 3]) {
      const first = await taken(vae, data, options, stop);
      expect((await taken(vae, data, { ...options, resume: first.saved })).saved).toEqual(whole.saved);
    }
    // Between the updates of both networks.
    expect(await stopped(vae, data, options, 4)).toEqual(whole.saved);
    await using run = trainVae(vae, data, options);
    const files = await run.files();
    const path = "diffusion_pytorch_model.safetensors";
    const file = await openSafetensors(memorySource({ [path]: files[path]! }), path);
    expect([...file.tensors.keys()].some((name) => name.startsWith("discriminator."))).toBe(false);
    const [clip] = data as [PixelSample];
    expect(await run.distance(clip, clip.pixels)).toBe(0);
    expect(await run.distance(clip, await run.reconstruct(clip))).toBeGreaterThan(0);
  });

  test.each<[string, (of: ReturnType<typeof judges>) => TrainVaeOptions, RegExp]>([
    ["LPIPS without a network", () => ({ steps: 1, losses: { perceptual: 1 } }), /perceptual counts by a network, got none/],
    [
      "a discriminator without a weight",
      ({ discriminator }) => ({ steps: 1, discriminator }),
      /a discriminator is asked where disc counts/,
    ],
    ["a weight without a discriminator", () => ({ steps: 1, losses: { disc: 1 } }), /disc counts by a discriminator, got none/],
  ])("refused: %s", async (_, options, message) => {
    const vae = await tinyVae();
    await expect(taken(vae, clips(vae, 1), options(judges()))).rejects.toThrow(message);
  });

  test("without the decoder the adversarial gradient counts by disc, however a step is divided, in f16 as in f32", async () => {
    const vae = await tinyVae();
    const [clip] = clips(vae, 1, [9, 16, 16]) as [PixelSample];
    const norm = async (disc: number, more: TrainVaeOptions = {}, l1 = 0): Promise<number> => {
      const { discriminator } = judges();
      const { steps } = await taken(vae, [clip], {
        ...{ part: "encoder", steps: 1, latents: "mean", maxGradNorm: Infinity, ...more },
        discriminator: { ...discriminator, start: 0 },
        losses: { l1, kl: 0, disc },
      });
      return steps[0]!.gradNorm;
    };
    const one = await norm(1);
    expect(one).toBeGreaterThan(0);
    expect((await norm(1000)) / one / 1000).toBeCloseTo(1, 3);
    expect((await norm(1, { accumulation: 4 })) / one).toBeCloseTo(1, 3);
    if (vae.gpu.caps.f16) expect(Math.abs((await norm(1, { dtype: "f16" })) / one - 1)).toBeLessThan(0.1);
    // Beside another loss a small weight changes little.
    const small = await norm(1e-6, {}, 1);
    expect(Math.abs((await norm(2e-6, {}, 1)) / small - 1)).toBeLessThan(1e-3);
    expect(Math.abs((await norm(1000, {}, 1)) / small - 1)).toBeGreaterThan(0.1);
  });

  test("LPIPS is told of clips without learning from it, and other files of it are another run where it is learned from", async () => {
    const vae = await tinyVae();
    const [clip] = clips(vae, 1, [1, 16, 16]) as [PixelSample];
    const { lpips } = judges();
    const of = (heads: string) => ({ ...lpips, digests: async () => ({ net: "n", heads }) });
    const measured = await taken(vae, [clip], { steps: 1, lpips: of("a") });
    expect(measured.steps[0]!.losses["lpips"]).toBeUndefined();
    await using run = trainVae(vae, [clip], { steps: 2, lpips });
    expect(await run.distance(clip, await run.reconstruct(clip))).toBeGreaterThan(0);
    const first = await taken(vae, [clip], { steps: 2, lpips: of("a"), losses: { perceptual: 1 } }, 1);
    const goOn = (heads: string) => taken(vae, [clip], { steps: 2, lpips: of(heads), losses: { perceptual: 1 }, resume: first.saved });
    await expect(goOn("b")).rejects.toThrow(/got another lpips\.heads \("a" then, "b" now\);/);
    expect((await goOn("a")).steps.length).toBe(1);
  });

  test.each([2, 3, 4, 5, 7].flatMap((kernel_size) => [false, true].map((causal) => ({ kernel_size, causal }))))(
    "the smallest clip of %j is judged, and a smaller one refused by name",
    async (given) => {
      const config = parseDiscriminatorConfig({ ...given, ndf: 4 }, "d");
      const least = leastClip(config);
      const judge = { config, initial: new Map() };
      discriminatorMicro(judge, { clips: 1, ...least }, { dtype: "f32" });
      for (const axis of ["frames", "height", "width"] as const) {
        if (least[axis] === 1) continue;
        const smaller = { clips: 1, ...least, [axis]: least[axis] - 1 };
        expect(() => discriminatorMicro(judge, smaller, { dtype: "f32" })).toThrow(/the kernel must fit the padded input/);
      }
      if (least.frames === 1) return;
      const vae = await tinyVae();
      const options: TrainVaeOptions = { steps: 1, discriminator: { config }, losses: { disc: 1 } };
      await expect(taken(vae, clips(vae, 1, [1, 128, 128]), options)).rejects.toThrow(
        new RegExp(`sample 1 of epoch 1: the discriminator judges clips of ${least.frames} frames of .* at least, got 1 of 128 × 128`),
      );
    },
  );

  test("a penalty on its gradient counts in each so many'th step, in f16 as in f32, and a run goes on to the same bytes", async () => {
    const vae = await tinyVae();
    const data = clips(vae, 2, [9, 16, 16]);
    const options = (dtype: "f32" | "f16", weight = 4): TrainVaeOptions => ({
      ...{ part: "decoder", steps: 4, dtype, accumulation: 2, optimizer: { lr: 0.005 }, losses: { disc: 0.2 } },
      discriminator: { ...judges().discriminator, start: 1, penalty: { kind: "r1", weight, every: 2 } },
    });
    const penalties = ({ steps }: Awaited<ReturnType<typeof taken>>) => steps.map(({ losses }) => losses["penalty"]);
    const whole = await taken(vae, data, options("f32"));
    expect(penalties(whole).map((penalty) => penalty !== undefined && penalty > 0)).toEqual([false, true, false, true]);
    const double = await taken(vae, data, options("f32", 8), 2);
    expect(penalties(double)[1]! / penalties(whole)[1]!).toBeCloseTo(2, 4);
    expect(whole.steps[1]!.discriminator!.gradNorm).not.toBe(double.steps[1]!.discriminator!.gradNorm);
    const first = await taken(vae, data, options("f32"), 2);
    expect((await taken(vae, data, { ...options("f32"), resume: first.saved })).saved).toEqual(whole.saved);
    if (!vae.gpu.caps.f16) return;
    const half = penalties(await taken(vae, data, options("f16"), 2))[1]!;
    expect(Math.abs(half / penalties(whole)[1]! - 1)).toBeLessThan(1e-5);
  });

  test.each<[string, object, RegExp]>([
    ["of another kind", { kind: "r2", weight: 1 }, /discriminator\.penalty\.kind must be r1 or unit, got "r2"/],
    ["of no weight", { kind: "r1", weight: 0 }, /discriminator\.penalty\.weight must be a number above 0, got 0/],
    ["in no step", { kind: "unit", weight: 1, every: 0 }, /discriminator\.penalty\.every must be a whole number from 1, got 0/],
  ])("refused: a penalty %s", async (_, penalty, message) => {
    const vae = await tinyVae();
    const discriminator = { ...judges().discriminator, penalty: penalty as never };
    await expect(taken(vae, clips(vae, 1), { steps: 1, discriminator, losses: { disc: 1 } })).rejects.toThrow(message);
  });

  test("Muon leaves the ends of encoder, decoder and discriminator to AdamW", async () => {
    const vae = await tinyVae();
    const { discriminator } = judges(2);
    const kernels = async (optimizer: OptimizerOptions) => {
      using trainer = await VaeTrainer.create(vae, { part: "both", optimizer, discriminator, losses: { disc: 1 } });
      const { tensors } = trainer.states;
      const all = [...tensors].filter(([name, { shape }]) => tensors.has(stateName("first", name)) && shape.length > 1);
      const [byAdam, byMuon] = [true, false].map((adam) =>
        all.map(([name]) => name).filter((name) => tensors.has(stateName("second", name)) === adam),
      );
      return { byAdam: byAdam!.sort(), byMuon: byMuon! };
    };
    const { byAdam, byMuon } = await kernels({ name: "muon" });
    expect(byAdam).toEqual([
      "decoder.conv_in.conv.weight",
      "decoder.conv_out.conv.weight",
      "discriminator.main.0.weight",
      "discriminator.main.8.weight",
      "encoder.conv_in.conv.weight",
      "encoder.conv_out.conv.weight",
    ]);
    expect(byMuon).toEqual(expect.arrayContaining(["discriminator.main.2.weight", "discriminator.main.5.weight"]));
    expect((await kernels({ name: "muon", adamOnly: [] })).byAdam).toEqual([]);
  });

  test("a clip that is not finite spoils no discriminator: weights stay, statistics stay finite, the next step is taken", async () => {
    const vae = await tinyVae();
    const { discriminator } = judges(2);
    const losses = { l1: 1, mse: 0, perceptual: 0, kl: 0, disc: 1 };
    using trainer = await VaeTrainer.create(vae, { part: "decoder", discriminator, losses });
    const [clip] = clips(vae, 1, [9, 16, 16]) as [PixelSample];
    const before = await trainer.states.save();
    const step = (sample: PixelSample, step: number) =>
      trainer.step([{ samples: [sample], step, first: 0 }], { lr: 0.01, discriminator: 0.01 }, losses);
    const broken = await step({ ...clip, pixels: clip.pixels.map(() => Number.NaN) }, 2);
    expect(broken.discriminator!.taken).toBe(false);
    const after = await trainer.states.save();
    const kept = [...before.keys()].filter((name) => name.startsWith("discriminator."));
    const running = kept.filter((name) => name.includes(".running_"));
    expect([running.length, kept.length]).toEqual([4, 14]);
    for (const name of kept) {
      const now = new Float32Array(after.get(name)!);
      if (running.includes(name)) expect(now.every(Number.isFinite), name).toBe(true);
      else expect(now, name).toEqual(new Float32Array(before.get(name)!));
    }
    const again = await step(clip, 3);
    expect([again.taken, again.discriminator!.taken]).toEqual([true, true]);
    expect(again.discriminator!.gradNorm).toBeGreaterThan(0);
  });

  test("LPIPS of held-out clips is in f32 in runs of any dtype", async () => {
    const vae = await tinyVae();
    const [a, b] = clips(vae, 2, [1, 16, 16]) as [PixelSample, PixelSample];
    const distance = async (dtype: "f32" | "f16"): Promise<number | undefined> => {
      await using run = trainVae(vae, [a], { steps: 1, dtype, lpips: judges().lpips, losses: { perceptual: 1 } });
      return await run.distance(a, b.pixels);
    };
    const want = await distance("f32");
    expect(want).toBeGreaterThan(0);
    expect(await distance("f16")).toBe(want);
  });

  test.each<[string, (initial: Map<string, Float32Array>) => void, RegExp]>([
    ["without a weight", (all) => void all.delete("main.2.weight"), /must have 864 values of main\.2\.weight, \[8, 4, 3, 3, 3\], got none/],
    [
      "with one of another size",
      (all) => void all.set("main.3.running_var", new Float32Array(4)),
      /must have 8 values of main\.3\.running_var, \[8\], got 4/,
    ],
  ])("a discriminator that begins %s is refused", async (_, change, message) => {
    const vae = await tinyVae();
    const { discriminator } = judges();
    const initial = initialDiscriminator(
      discriminator.config,
      (count) => values(count, 1, 1),
      (count) => values(count, 2, 1),
    );
    change(initial);
    const options: TrainVaeOptions = { steps: 1, discriminator: { ...discriminator, initial, start: 0 }, losses: { disc: 1 } };
    await expect(taken(vae, clips(vae, 1), options)).rejects.toThrow(message);
  });

  test("strides are those of the published discriminator", () => {
    const [all, plane, none] = [
      [2, 2, 2],
      [1, 2, 2],
      [1, 1, 1],
    ];
    expect([1, 2, 3, 4].map((n_layers) => parseDiscriminatorConfig({ n_layers }, "d").strides)).toEqual([
      [all, none, none],
      [all, all, none, none],
      [all, all, plane, none, none],
      [all, all, plane, plane, none, none],
    ]);
  });
});
