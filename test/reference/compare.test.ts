import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { writeSafetensors, type TensorToWrite } from "../../src/files/safetensors.ts";
import { readCase } from "../../src/check/reference/case.ts";
import { compareSteps, compareTensors, thresholdFor, worstOf } from "../../src/check/reference/compare.ts";
import { complaint, runCase } from "../../src/check/reference/run.ts";
import { testGpu } from "../support/gpu.ts";

const tensor = (...data: number[]) => ({ shape: [data.length], data: Float32Array.from(data) });
const limit = { measure: "relative L2", limit: 1e-5 } as const;

describe("compareTensors", () => {
  test("figures of a small difference", () => {
    const c = compareTensors("y", tensor(3, 4.00001), tensor(3, 4), limit);
    expect(c).toMatchObject({ verdict: "pass", measure: "relative L2", threshold: 1e-5 });
    expect(c.maxAbs).toBeCloseTo(1e-5, 6);
    expect(c.relativeL2).toBeCloseTo(2e-6, 7);
    expect(c.cosine).toBeCloseTo(1, 9);
  });
  test("a reference of zeros is judged by the largest difference", () => {
    expect(compareTensors("y", tensor(0, 5e-6), tensor(0, 0), limit)).toMatchObject({ verdict: "pass", relativeL2: null, cosine: null });
    expect(compareTensors("y", tensor(0, 5e-5), tensor(0, 0), limit)).toMatchObject({ verdict: "fail" });
  });
  test.each([
    [NaN, 1],
    [Infinity, 1],
    [1, NaN],
    [Infinity, -Infinity],
  ])("%d for %d fails", (got, want) => {
    expect(compareTensors("y", tensor(2, got), tensor(2, want), limit)).toMatchObject({
      verdict: "fail",
      note: `1 values differ in being finite, first at [1]: got ${got}, expected ${want}`,
    });
  });
  test("the reference's own infinities are not held against the engine", () => {
    expect(compareTensors("y", tensor(Infinity, NaN, 2), tensor(Infinity, NaN, 2), limit)).toMatchObject({ verdict: "pass", maxAbs: 0 });
  });
  test("integers must be equal, randn is judged by its largest difference", () => {
    expect(
      compareTensors("timesteps", tensor(999, 1), tensor(999, 0), thresholdFor("CogVideoXDDIMScheduler", "timesteps", "f16")).verdict,
    ).toBe("fail");
    expect(thresholdFor("torch.randn", "sample", "f32")).toEqual({ measure: "max abs", limit: 1e-6 });
    expect(thresholdFor("CogVideoXPipeline", "frames", "f32").limit).toBe(1e-4);
    expect(thresholdFor("CogVideoXPipeline", "frames", "f32", { steps: 6 }).limit).toBe(1e-4);
    expect(thresholdFor("CogVideoXPipeline", "frames", "f32", { steps: 50 }).limit).toBe(1e-3);
    expect(thresholdFor("CogVideoXPipeline", "step.latents", "f32", { steps: 50 }).limit).toBe(1e-5);
    expect(thresholdFor("CogVideoXPipeline", "frames", "f16", { steps: 50 }).limit).toBe(5e-3);
    expect(thresholdFor("CogVideoXBlock", "hidden_states", "f32", { steps: 50 }).limit).toBe(1e-5);
    expect(thresholdFor("T5EncoderModel", "y", "f32", { integer: true })).toEqual({ measure: "equal", limit: 0 });
    expect(thresholdFor("CogVideoXBlock", "hidden_states", "f32").limit).toBe(1e-5);
    expect(thresholdFor("CogVideoXPipeline", "frames", "f16").limit).toBe(5e-3);
  });
  test("a missing output and another shape fail", () => {
    expect(compareTensors("y", undefined, tensor(1), limit)).toMatchObject({ verdict: "fail", note: "the engine gives no such output" });
    expect(compareTensors("y", tensor(1, 2), tensor(1), limit)).toMatchObject({ verdict: "fail", note: "shape [2], expected [1]" });
  });
});

const metadata = { format: "reference-case/1", module: "torch.randn", config: "{}", options: '{"seed": 1, "shape": [2]}', source: "here" };
const f32 = (...data: number[]) => ({ dtype: "F32" as const, shape: [data.length], data: Float32Array.from(data) });

describe("compareSteps", () => {
  const steps = (...data: number[]) => ({ shape: [2, 2], data: Float32Array.from(data) });
  test("each step by itself, and the worst of them", () => {
    const each = compareSteps("step.latents", steps(1, 1, 1, 2), steps(1, 1, 1, 1), limit);
    expect(each.map((c) => [c.verdict, c.relativeL2])).toEqual([
      ["pass", 0],
      ["fail", Math.SQRT1_2],
    ]);
    expect(each[1]!.worst).toEqual({ at: [1], got: 2, want: 1 });
    expect(worstOf(each).index).toBe(1);
    const [nan] = [compareSteps("step.latents", steps(NaN, 1, 1, 2), steps(1, 1, 1, 1), limit)];
    expect(worstOf(nan!).index).toBe(0);
  });
  test("a missing tensor and another number of steps fail", () => {
    expect(compareSteps("step.latents", undefined, steps(1, 1, 1, 1), limit)).toMatchObject([
      { verdict: "fail", note: "the engine gives no such output" },
    ]);
    expect(compareSteps("step.latents", { shape: [1, 2], data: new Float32Array(2) }, steps(1, 1, 1, 1), limit)).toMatchObject([
      { verdict: "fail", note: "shape [1, 2], expected [2, 2]" },
    ]);
  });
});

describe("readCase", () => {
  test("groups tensors, widens integers, keeps LoRA adapters in order", async () => {
    const c = await readCase(
      writeSafetensors(
        {
          "input.ids": { dtype: "I32", shape: [2], data: Int32Array.of(-1, 7) },
          "weight.a.b": f32(1),
          "output.y": { dtype: "I64", shape: [1], data: BigInt64Array.of(5n) },
          "lora.1.x.alpha": f32(2),
          "lora.0.x.lora_A.weight": f32(3),
          "step.latents": f32(4),
          "trace.0.a.b:input": f32(5),
        },
        metadata,
      ),
      "mine",
      { trace: true },
    );
    expect(c).toMatchObject({ name: "mine", module: "torch.randn", options: { seed: 1 }, source: "here" });
    expect(c.inputs.get("ids")).toEqual({ shape: [2], data: Float32Array.of(-1, 7), integer: true });
    expect(c.outputs.get("y")).toMatchObject({ data: Float32Array.of(5), integer: true });
    expect(c.weights.get("a.b")).toMatchObject({ integer: false });
    expect(c.steps.get("latents")).toMatchObject({ data: Float32Array.of(4) });
    expect([...c.trace.keys()]).toEqual(["0.a.b:input"]);
    expect(c.loras.map((l) => [...l.keys()])).toEqual([["x.lora_A.weight"], ["x.alpha"]]);
  });

  test.each([
    [
      "another format",
      { ...metadata, format: "x" },
      { "output.y": f32(1) },
      /mine: __metadata__ must say format reference-case\/1, got "x"/,
    ],
    ["no module", { format: metadata.format }, { "output.y": f32(1) }, /mine: __metadata__ must name a module/],
    ["no outputs", metadata, { "input.x": f32(1) }, /mine: a case must have an output/],
    ["a tensor outside the groups", metadata, { "output.y": f32(1), stray: f32(1) }, /tensors must be named .* got "stray"/],
    [
      "a trace without a call",
      metadata,
      { "output.y": f32(1), "trace.encoder": f32(1) },
      /tensors of a trace must be named trace\.<call>\.<module path>, got "trace\.encoder"/,
    ],
    ["broken JSON", { ...metadata, config: "{" }, { "output.y": f32(1) }, /mine: config must be JSON/],
    ["a list for options", { ...metadata, options: "[]" }, { "output.y": f32(1) }, /mine: options must hold a JSON object, got a list/],
  ])("%s is refused", async (_, meta, tensors, error) => {
    await expect(
      readCase(writeSafetensors(tensors as Record<string, ReturnType<typeof f32>>, meta as Record<string, string>), "mine"),
    ).rejects.toThrow(error);
  });

  test("cut bytes are refused", async () => {
    const bytes = writeSafetensors({ "output.y": f32(1, 2) }, metadata);
    await expect(readCase(bytes.subarray(0, bytes.length - 4), "mine")).rejects.toThrow(/\[checkpoint\]/);
  });
});

describe("runCase", () => {
  const run = async (meta: Record<string, string>, tensors: Parameters<typeof writeSafetensors>[0]) =>
    runCase(await testGpu(), await readCase(writeSafetensors(tensors, meta), "mine"));

  test("a wrong reference fails, and the line says by how much", async () => {
    const result = await run(metadata, { "output.sample": f32(0.6613519, 0.3) });
    expect(result.verdict).toBe("fail");
    expect(complaint(result)).toMatch(/^mine: fail: sample: fail, max abs 3\.\d\de-2, .* \(max abs ≤ 0\.000001\)$/);
  });
  test("a module that is not there is unsupported, even under a name that every object has", async () => {
    expect(await run({ ...metadata, module: "Nonsense" }, { "output.sample": f32(1) })).toMatchObject({
      verdict: "unsupported",
      error: expect.stringContaining("module Nonsense is not supported"),
    });
    expect(await run({ ...metadata, module: "constructor" }, { "output.sample": f32(1) })).toMatchObject({ verdict: "unsupported" });
  });
  test("a case that throws is reported with its error", async () => {
    expect(await run({ ...metadata, options: "{}" }, { "output.sample": f32(1) })).toMatchObject({
      verdict: "cannot be run",
      error: expect.stringContaining("options.seed must be a whole number"),
    });
    const config =
      '{"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 1, "vocab_size": 4, "feed_forward_proj": "gated-gelu"}';
    const t5 = await run(
      { ...metadata, module: "T5EncoderModel", config },
      {
        "input.input_ids": { dtype: "I32", shape: [1, 2], data: Int32Array.of(0, 1) },
        "weight.shared.weight": { dtype: "F32", shape: [4, 4], data: new Float32Array(16) },
        "output.last_hidden_state": f32(1),
      },
    );
    expect(t5).toMatchObject({ verdict: "cannot be run" });
    expect(t5.error).toMatch(
      /got 12 of 12 that are not; make the case again:\n {2}shared\.weight: expected \[4, 8\], got \[4, 4\]\n {2}encoder\.block\.0/,
    );
  });
});

describe("a case of a kilobyte", () => {
  const run = async (module: string, options: object, output: Record<string, TensorToWrite>, more: Record<string, TensorToWrite> = {}) =>
    runCase(
      await testGpu(),
      await readCase(
        writeSafetensors(
          { ...more, ...output },
          { format: "reference-case/1", module, config: "{}", options: JSON.stringify(options), source: "here" },
        ),
        "small",
      ),
    );

  test("makes no more draws than it holds to compare them with", async () => {
    const output = { "output.sample": f32(1, 2) };
    const begun = performance.now();
    for (const shape of [[2 ** 28], [2 ** 14, 2 ** 14], [3], [1, 2], Array(10_000).fill(1)]) {
      const { verdict, error } = await run("torch.randn", { seed: 1, shape }, output);
      expect(verdict).toBe("cannot be run");
      expect(error).toMatch(
        /^\[reference\] small: options\.shape must be the shape of output\.sample, got .+ and \[2\]; make the case again$/,
      );
      expect(error!.length).toBeLessThan(300);
    }
    expect((await run("torch.randn", { seed: 1, shape: [2 ** 28] }, { "output.other": f32(1) })).error).toMatch(
      /and none; make the case again$/,
    );
    expect(performance.now() - begun).toBeLessThan(2000);
    const { error } = await run("torch.randn", { seed: 1, shape: [2] }, output);
    expect(error).toBeUndefined();
  });

  test("nor more rows of ids", async () => {
    const model = await readFile(join(import.meta.dirname, "../../models/moving-shapes/tokenizer/spiece.model"));
    const more = { "weight.spiece_model": { dtype: "U8" as const, shape: [model.length], data: model } };
    const ids = { "output.input_ids": { dtype: "I32" as const, shape: [1, 4], data: new Int32Array(4) } };
    expect((await run("T5Tokenizer", { text: Array(20_000).fill(""), max_length: 65536 }, ids, more)).error).toContain(
      "output.input_ids must be [20000, 65536] for these texts and max_length, got [1, 4]",
    );
    expect((await run("T5Tokenizer", { text: ["a"], max_length: 4 }, ids, more)).verdict).toBe("fail");
  });
});
