import { describe, expect, test } from "vitest";
import { writeSafetensors, type TensorToWrite } from "../../src/files/safetensors.ts";
import { readCase } from "../../src/check/reference/case.ts";
import type { Comparison } from "../../src/check/reference/compare.ts";
import type { HostTensor } from "../../src/check/reference/reference-case.ts";
import { compareTraining, trainedTensor } from "../../src/check/reference/training.ts";

const module = "train.CogVideoXTransformer3DModel";
const f32 = (...data: number[]): TensorToWrite => ({ dtype: "F32", shape: [data.length], data: Float32Array.from(data) });
const tensor = (...data: number[]): HostTensor => ({ shape: [data.length], data: Float32Array.from(data) });
const caseOf = (tensors: Record<string, TensorToWrite>, options: object = {}) =>
  readCase(
    writeSafetensors(tensors, { format: "reference-case/1", module, config: "{}", options: JSON.stringify(options), source: "here" }),
    "mine",
  );

describe("the verdict on a training run", () => {
  const given = {
    "weight.w": f32(1000, 1000),
    "weight.still": f32(1, 1),
    "lora.0.a.lora_A.weight": f32(0, 1),
    "output.loss": f32(10, 0.1),
    "output.weight.w": f32(1003, 1004),
    "output.weight.still": f32(1, 1),
    "output.ema.w": f32(1001, 1000),
    "output.lora.0.a.lora_A.weight": f32(0, 3),
  };
  const reached = {
    loss: tensor(10, 0.1),
    "weight.w": tensor(1003, 1004),
    "weight.still": tensor(1, 1),
    "ema.w": tensor(1001, 1000),
    "lora.0.a.lora_A.weight": tensor(0, 3),
  };
  const judge = async (changes: Record<string, HostTensor>, options: object = {}, dtype: "f32" | "f16" = "f32") => {
    const found = compareTraining(await caseOf(given, options), { ...reached, ...changes }, dtype);
    return Object.fromEntries(found.map((c) => [c.output, c])) as Record<string, Comparison>;
  };

  test("is on every step's loss by itself", async () => {
    // Beside the first step the second would not count in one norm over both.
    const { loss } = await judge({ loss: tensor(10, 0.1001) });
    expect(loss).toMatchObject({ verdict: "fail", measure: "each relative", threshold: 1e-4 });
    expect(loss!.judged).toBeCloseTo(1e-3, 5);
    expect((await judge({ loss: tensor(10, 0.1001) }, {}, "f16"))["loss"]).toMatchObject({ verdict: "pass", threshold: 1e-2 });
    // Three times what torch itself is off with that storage, and never less.
    const told = { torch_f16: { loss: 0.02 } };
    expect((await judge({ loss: tensor(10, 0.105) }, told, "f16"))["loss"]).toMatchObject({ verdict: "pass", threshold: 0.06 });
    expect((await judge({ loss: tensor(10, 0.107) }, told, "f16"))["loss"]).toMatchObject({ verdict: "fail" });
    expect((await judge({ loss: tensor(10, 0.1001) }, told))["loss"]).toMatchObject({ verdict: "fail", threshold: 1e-4 });
  });
  test("is on what changed of a tensor, and an average", async () => {
    const { "weight.w": w, "ema.w": average } = await judge({ "weight.w": tensor(1003.01, 1004), "ema.w": tensor(1001.002, 1000) });
    expect(w).toMatchObject({ verdict: "fail", measure: "L2 of change", threshold: 1e-3 });
    expect(w!.judged).toBeCloseTo(0.01 / 5, 4);
    expect(average).toMatchObject({ verdict: "fail", measure: "L2 of change" });
    expect(average!.judged).toBeCloseTo(2e-3, 3);
  });
  test("takes three times torch's own error, where that is more", async () => {
    const names = { w: 2e-3, "lora.0.a.lora_A.weight": 1e-2, "ema.w": 5e-3 };
    const all = await judge({ "weight.w": tensor(1003.025, 1004) }, { torch_f32: names });
    expect(all["weight.w"]).toMatchObject({ verdict: "pass", threshold: 6e-3 });
    expect(all["lora.0.a.lora_A.weight"]!.threshold).toBeCloseTo(3e-2, 10);
    expect(all["ema.w"]!.threshold).toBeCloseTo(1.5e-2, 10);
    expect((await judge({}, { torch_f32: { w: 1e-6 } }))["weight.w"]!.threshold).toBe(1e-3);
  });
  test("is on the largest difference, where nothing changes", async () => {
    const { "weight.still": still } = await judge({ "weight.still": tensor(1, 1.01) });
    expect(still).toMatchObject({ verdict: "fail", measure: "max abs", threshold: 1e-3 });
    expect((await judge({ "weight.still": tensor(1, 1.0005) }))["weight.still"]!.verdict).toBe("pass");
  });
  test("leaves out what Adam makes of rounding, and tensors in f16, but for what is not finite", async () => {
    const options = { zero_gradient: ["w"] };
    const { "weight.w": w, "ema.w": average } = await judge({ "weight.w": tensor(0, 0), "ema.w": tensor(0, 0) }, options);
    expect(w).toMatchObject({ verdict: "pass", measure: "not judged" });
    expect(average).toMatchObject({ verdict: "pass", measure: "not judged" });
    expect((await judge({ "weight.w": tensor(NaN, 0) }, options))["weight.w"]!.verdict).toBe("fail");
    expect((await judge({ "weight.w": tensor(0, 0) }, {}, "f16"))["weight.w"]).toMatchObject({ verdict: "pass", measure: "not judged" });
    await expect(judge({}, { zero_gradient: "w" })).rejects.toThrow(/options\.zero_gradient must be a list of names/);
  });
  test("finds what an output is of, whatever an average is called", async () => {
    const c = await caseOf(given);
    const of = (name: string) => trainedTensor(c, name);
    expect([of("weight.w"), of("ema.w"), of("ema.weight.w")]).toEqual(["weight.w", "weight.w", "weight.w"]);
    const key = "lora.0.a.lora_A.weight";
    expect([of(key), of(`ema.${key}`), of("ema.a.lora_A.weight")]).toEqual([key, key, key]);
    expect([of("weight.none"), of("lora.1.a"), of("ema.none")]).toEqual([undefined, undefined, undefined]);
  });
});
