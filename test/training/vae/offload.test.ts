/** `trainVae` with means in the host's memory: the same bytes, and less on the device. */
import { expect, test } from "vitest";
import { isMean } from "../../../src/training/update.ts";
import { LOSS_WEIGHTS, type TrainVaeOptions } from "../../../src/training/vae/options.ts";
import { VaeTrainer } from "../../../src/training/vae/trainer.ts";
import { clips, judges, taken, tinyVae } from "../../support/vae-training.ts";

const base: TrainVaeOptions = { part: "both", steps: 2, seed: 3, ema: { decay: 0.5 }, optimizer: { lr: 1e-3 } };

test("a run by batches of frames, with a discriminator, has the bytes that it has with means on the device", {
  timeout: 120_000,
}, async () => {
  const vae = await tinyVae();
  const data = clips(vae, 1, [17, 16, 16]);
  const { discriminator } = judges();
  const of: TrainVaeOptions = { ...base, discriminator: { ...discriminator, start: 1 }, losses: { disc: 0.2 }, passes: "batches" };
  const [there, here] = [await taken(vae, data, { ...of, offload: true }), await taken(vae, data, of)];
  expect(there.steps.map(({ loss, discriminator }) => [loss, discriminator])).toEqual(
    here.steps.map(({ loss, discriminator }) => [loss, discriminator]),
  );
  expect(there.saved).toEqual(here.saved);
});

test("so has one of added up micro-steps, by Muon, which goes on with means in either place", { timeout: 120_000 }, async () => {
  const vae = await tinyVae();
  const data = clips(vae, 2);
  const of: TrainVaeOptions = { ...base, accumulation: 2, optimizer: { name: "muon", lr: 1e-3, bits: 8 } };
  const here = await taken(vae, data, of);
  const begun = await taken(vae, data, { ...of, offload: true }, 1);
  expect((await taken(vae, data, { ...of, resume: begun.saved })).saved).toEqual(here.saved);
  const before = await taken(vae, data, of, 1);
  expect((await taken(vae, data, { ...of, offload: true, resume: before.saved })).saved).toEqual(here.saved);
});

test("between updates no means are on the device", async () => {
  const vae = await tinyVae();
  const held = async (offload: boolean): Promise<number> => {
    const before = vae.gpu.memory.allocated;
    using trainer = await VaeTrainer.create(vae, { ...base, offload });
    const batch = { samples: clips(vae, 1), step: 0, first: 0 };
    expect((await trainer.step([batch], { lr: 1e-3, discriminator: 0 }, LOSS_WEIGHTS)).taken).toBe(true);
    const { states } = trainer;
    const [name] = [...states.tensors.keys()].filter(isMean);
    if (offload) expect(() => states.buffer(name!)).toThrow(/put aside/);
    trainer.release();
    return vae.gpu.memory.allocated - before;
  };
  // Sums of gradients, which an update by itself needs, take half of what means take.
  expect(await held(true)).toBeLessThan(0.8 * (await held(false)));
});
