/** The slot plan against its rules, for uses drawn at random. */
import { describe, expect, it } from "vitest";
import type { WeightRequest } from "../../src/plan/compile.ts";
import { layerOf, overlap, planSlots } from "../../src/plan/slots.ts";

const weight = (name: string, bytes: number): WeightRequest => ({
  key: name,
  names: [name],
  shape: [bytes / 4],
  packing: "natural",
  dtype: "f32",
  bytes,
});

/** 0 up to 1, from a seed. */
function chance(seed: number): () => number {
  let s = seed;
  return () => ((s = (Math.imul(s, 1664525) + 1013904223) >>> 0), s / 2 ** 32);
}

describe("the slot plan", () => {
  it("has every weight in its place while steps read it, and overwrites none that is read later", () => {
    for (let seed = 1; seed <= 300; seed++) {
      const next = chance(seed);
      const weights = new Map(
        Array.from({ length: 1 + Math.floor(next() * 30) }, (_, i) => {
          const w = weight(`layer.${Math.floor(i / 3)}.w${i}`, 4 * Math.ceil(next() * 900));
          return [w.key, w];
        }),
      );
      const keys = [...weights.keys()];
      // In order, some by several steps, some again much later, some two at once.
      const uses = keys.flatMap((key, i) => {
        const step = () =>
          new Set([key, ...(next() < 0.3 ? [keys[Math.floor(next() * keys.length)]!] : []), ...(i && next() < 0.2 ? [keys[i - 1]!] : [])]);
        return [...(next() < 0.2 ? [new Set<string>()] : []), ...Array.from({ length: 1 + Math.floor(next() * 3) }, step)];
      });
      const limit = 4096 * (1 + Math.floor(next() * 8));
      const { buffers, uploads, at } = planSlots(weights, uses, 0.1 + 4 * next(), 256, limit);
      for (const size of buffers) expect(size).toBeLessThanOrEqual(limit);
      for (const [i, u] of uploads.entries()) {
        expect(u.offset % 256).toBe(0);
        expect(u.end - u.offset).toBeGreaterThanOrEqual(u.weight.bytes);
        expect(u.end).toBeLessThanOrEqual(buffers[u.buffer]!);
        if (i) expect(u.before).toBeGreaterThanOrEqual(uploads[i - 1]!.before);
        for (const later of uploads.slice(i + 1)) if (overlap(u, later)) expect(u.last).toBeLessThan(later.before);
      }
      for (const [step, read] of uses.entries())
        for (const key of read) {
          const u = at(step, key);
          expect(u.weight.key).toBe(key);
          expect(u.before <= step && step <= u.last).toBe(true);
        }
      expect(new Set(uploads.map((u) => u.weight.key))).toEqual(new Set(uses.flatMap((read) => [...read])));
    }
  });

  it("holds as many layers as it is asked for, and brings each once a run where they are alike", () => {
    const weights = new Map(Array.from({ length: 24 }, (_, i) => [`b.${i >> 2}.w${i & 3}`, weight(`b.${i >> 2}.w${i & 3}`, 1024)]));
    const uses = [...weights.keys()].map((key) => new Set([key]));
    for (const slots of [1, 2, 3, 5]) {
      const plan = planSlots(weights, uses, slots, 256, 2 ** 30);
      expect(plan.buffers).toEqual([slots * 4096]);
      expect(plan.uploads.length).toBe(24);
      // The place of each weight is that of the one so many layers before, so it can come while the layer before computes.
      for (const [i, u] of plan.uploads.entries()) expect(u.offset).toBe((i % (4 * slots)) * 1024);
    }
    expect(planSlots(weights, uses, 100, 256, 2 ** 30).buffers).toEqual([24 * 1024]);
    expect(planSlots(weights, uses, 0.01, 256, 2 ** 30).buffers).toEqual([1024]);
  });

  it("names what it cannot place", () => {
    const weights = new Map([["a.0.w", weight("a.0.w", 4096)]]);
    expect(() => planSlots(weights, [new Set(["a.0.w"])], 2, 256, 1024)).toThrow(
      "[graph] a streamed weight must fit a buffer of 1024 bytes, got 4096 for a.0.w; keep it resident",
    );
    for (const slots of [0, -1, NaN, Infinity])
      expect(() => planSlots(weights, [new Set(["a.0.w"])], slots, 256, 2 ** 20)).toThrow("slots are layers' worth of memory");
  });

  it.each([
    ["transformer_blocks.12.attn1.to_q.weight", "transformer_blocks.12"],
    ["encoder.block.3.layer.0.SelfAttention.q.weight", "encoder.block.3"],
    ["decoder.up_blocks.0.resnets.1.conv1.conv.weight", "decoder.up_blocks.0"],
    ["norm_out.linear.weight", "norm_out"],
    ["shared.weight", "shared"],
  ])("takes %s for a part of %s", (name, layer) => expect(layerOf({ names: [name] })).toBe(layer));
});
