/** The branches of guidance by themselves: on one device, and on two that exchange predictions; the same bytes. */
import { resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Gpu } from "../../src/gpu/gpu.ts";
import type { Branch, Partner } from "../../src/models/cogvideox/branches.ts";
import type { DenoiseState } from "../../src/models/cogvideox/model.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";

const MODEL = resolve("models/moving-shapes");
const base = { prompt: "a red circle moving left", seed: 5, frames: 9, steps: 3, guidance: 4 };

let gpu: Gpu;
beforeAll(async () => {
  gpu = await Gpu.open();
});
afterAll(async () => {
  await gpu[Symbol.asyncDispose]();
});

/** Two partners in this process; the one of `branch` is gone after `last` exchanges. */
function pair(last = Number.POSITIVE_INFINITY): { partners: [Partner, Partner]; bytes: () => number } {
  const there = new Map<string, (values: Float32Array | undefined) => void>();
  const given = new Map<string, Float32Array>();
  let bytes = 0;
  const partner = (own: Branch): Partner => ({
    branch: async () => own,
    exchange: (step, values) => {
      if (own === 0 && step >= last) throw new Error("gone");
      const other = own === 0 ? 1 : 0;
      bytes += values.byteLength;
      given.set(`${step} ${own}`, values);
      there.get(`${step} ${own}`)?.(values);
      if (own === 1 && step >= last) return Promise.resolve(undefined);
      return new Promise((resolve) => {
        const found = given.get(`${step} ${other}`);
        if (found) resolve(found);
        else there.set(`${step} ${other}`, resolve);
      });
    },
  });
  return { partners: [partner(0), partner(1)], bytes: () => bytes };
}

describe.each(["ddim", "dpm"] as const)("with %s", (scheduler) => {
  const options = { ...base, scheduler };
  async function latents(partner: Partner, start?: DenoiseState): Promise<Float32Array> {
    await using model = await CogVideoX.open(MODEL, { gpu });
    const { state } = await model.generate({ ...options, share: { latentsOnly: true, partner }, ...(start ? { start } : {}) });
    return state.latents;
  }
  let together: Float32Array;
  let apart: Float32Array;
  beforeAll(async () => {
    await using model = await CogVideoX.open(MODEL, { gpu });
    together = (await model.generate({ ...options, share: { latentsOnly: true } })).state.latents;
    apart = await latents({ branch: async () => undefined, exchange: async () => undefined });
  }, 60_000);

  test("one device that computes them apart gives what it gives for both at once, to rounding", () => {
    expect(apart.length).toBe(together.length);
    const most = apart.reduce((worst, value, i) => Math.max(worst, Math.abs(value - together[i]!)), 0);
    expect(most).toBeLessThan(1e-3);
  });

  test("two devices give the bytes of one that computes them apart, for a prediction each way a step", async () => {
    const { partners, bytes } = pair();
    const both = await Promise.all(partners.map((partner) => latents(partner)));
    for (const one of both) expect(Buffer.compare(Buffer.from(one.buffer), Buffer.from(apart.buffer))).toBe(0);
    expect(bytes()).toBe(2 * options.steps * apart.byteLength);
  }, 60_000);

  test("where the other is gone, the step is finished alone, to the same bytes", async () => {
    const { partners } = pair(1);
    const [gone, left] = await Promise.allSettled(partners.map((partner) => latents(partner)));
    expect(gone!.status).toBe("rejected");
    expect(left!.status).toBe("fulfilled");
    const values = (left as PromiseFulfilledResult<Float32Array>).value;
    expect(Buffer.compare(Buffer.from(values.buffer), Buffer.from(apart.buffer))).toBe(0);
  }, 60_000);
});
