import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { folderSource } from "../../src/sources/folder.ts";
import { writeSafetensors, type TensorToWrite } from "../../src/files/safetensors.ts";
import { readCase, caseWeights } from "../../src/check/reference/case.ts";
import { compareGradients } from "../../src/check/reference/gradients.ts";
import { Layout } from "../../src/check/reference/layout.ts";
import type { HostTensor } from "../../src/check/reference/reference-case.ts";
import { runCase } from "../../src/check/reference/run.ts";
import { runOnce, type Recording } from "../../src/check/reference/run-once.ts";
import { add } from "../../src/ops/add.ts";
import { silu } from "../../src/ops/silu.ts";
import { values } from "../support/compare.ts";
import { testGpu } from "../support/gpu.ts";

const f32 = (shape: number[], data: ArrayLike<number>): TensorToWrite => ({ dtype: "F32", shape, data: Float32Array.from(data) });
const caseOf = (tensors: Record<string, TensorToWrite>, meta: { module?: string; options?: string } = {}) =>
  readCase(
    writeSafetensors(tensors, { format: "reference-case/1", module: "Made", config: "{}", options: "{}", source: "here", ...meta }),
    "mine",
  );
const dsilu = (x: number): number => {
  const s = 1 / (1 + Math.exp(-x));
  return s * (1 + x * (1 - s));
};

describe("a layout", () => {
  const byHead = new Layout([2, 4], {
    "input.a": { shape: [2, 3], at: ([i, j]) => i! * 4 + j! },
    "input.b": { shape: [1], first: 7 },
  });
  const tensor = (shape: number[], ...data: number[]): HostTensor => ({ shape, data: Float32Array.from(data) });

  test("packs what is there and pads with zeros, and unpacks it again", () => {
    const tensors = new Map([["input.a", tensor([2, 3], 1, 2, 3, 4, 5, 6)]]);
    const packed = byHead.pack(tensors, "mine: ");
    expect([...packed]).toEqual([1, 2, 3, 0, 4, 5, 6, 0]);
    packed[7] = 9;
    expect(byHead.unpack(packed)).toEqual({ "input.a": tensors.get("input.a"), "input.b": tensor([1], 9) });
    expect(() => byHead.pack(new Map([["input.a", tensor([3, 2], 1, 2, 3, 4, 5, 6)]]), "mine: ")).toThrow(
      /\[reference\] mine: input\.a must be \[2, 3\], got \[3, 2\]/,
    );
  });
});

describe("a module with cotangents", () => {
  const [x, w, bias, dy] = [values(8, 1), values(8, 2), values(4, 3), values(8, 4)];
  const outputs = { "output.y": f32([4, 2], new Float32Array(8)), "cotangent.y": f32([4, 2], dy) };
  const given = { "input.x": f32([4, 2], x), "weight.w": f32([8], w), "weight.b": f32([4], bias), "weight.c": f32([4], bias) };
  /** y = silu(xᵀ + w) + xᵀ + (b, c), transposed. */
  const transposed = (name: string) => new Layout([2, 4], { [name]: { shape: [4, 2], at: ([i, j]) => j! * 4 + i! } });
  const recording: Recording = {
    inputs: { x: transposed("input.x") },
    outputs: { y: transposed("y") },
    prefix: "model.",
    build: (graph, { x: input }) => {
      const inner = silu(add(input!, graph.reshape(graph.weight("model.w", [8]), [2, 4])));
      return { y: add(add(inner, input!), graph.reshape(graph.weight(["model.b", "model.c"], [8]), [2, 4])) };
    },
  };
  const run = async (wanted: Record<string, TensorToWrite>) => {
    const c = await caseOf({ ...outputs, ...given, ...wanted });
    const gpu = await testGpu();
    const context = { gpu, dtype: "f32", checkFinite: false, follow: () => ({}), weights: () => caseWeights(c, "f32") } as const;
    return runOnce(c, context, recording);
  };
  const at = (i: number) => (i % 2) * 4 + Math.floor(i / 2); // of [4, 2] in [2, 4]
  const dx = Float64Array.from(x, (v, i) => dy[i]! * (1 + dsilu(v + w[at(i)]!)));

  test("gives the gradients of inputs and weights in the case's own layouts", async () => {
    const got = await run({ "grad.input.x": f32([4, 2], dx), "grad.weight.w": f32([8], w), "grad.weight.c": f32([4], bias) });
    const wanted = {
      "grad.input.x": dx,
      "grad.weight.w": Float64Array.from(w, (_, j) => {
        const i = (j % 4) * 2 + Math.floor(j / 4);
        return dy[i]! * dsilu(x[i]! + w[j]!);
      }),
      // Joined weights have a gradient each.
      "grad.weight.b": Float64Array.from(bias, (_, j) => dy[2 * j]!),
      "grad.weight.c": Float64Array.from(bias, (_, j) => dy[2 * j + 1]!),
    };
    for (const [name, want] of Object.entries(wanted)) {
      expect(got[name]!.data.length).toBe(want.length);
      for (const [i, value] of want.entries()) expect(got[name]!.data[i]).toBeCloseTo(value, 5);
    }
    expect(got["grad.input.x"]!.shape).toEqual([4, 2]);
    expect(got["y"]!.data[3]).toBeCloseTo(x[3]! + bias[1]! + (x[3]! + w[at(3)]!) / (1 + Math.exp(-x[3]! - w[at(3)]!)), 5);
  });
  test("watches only what is asked for", async () => {
    const got = await run({ "grad.weight.w": f32([8], w) });
    expect(Object.keys(got).filter((name) => name.startsWith("grad."))).toEqual(["grad.weight.w"]);
    expect(Object.keys(await run({}))).toEqual(["y"]);
  });
  test("gives zeros for a weight that the model did not ask for, and nothing for one that the case does not have", async () => {
    const got = await run({ "weight.table": f32([4], bias), "grad.weight.table": f32([4], bias), "grad.weight.none": f32([4], bias) });
    expect(got["grad.weight.table"]).toEqual({ shape: [4], data: new Float32Array(4) });
    expect(got["grad.weight.none"]).toBeUndefined();
  });
  test("refuses a cotangent of what is no output", async () => {
    await expect(run({ "cotangent.z": f32([1], [1]), "grad.weight.w": f32([8], w) })).rejects.toThrow(
      /\[reference\] mine: a cotangent must be of an output of Made, got cotangent\.z; it has y/,
    );
  });
});

describe("the verdict on gradients", () => {
  const given = {
    "output.y": f32([2], [1, 2]),
    "cotangent.y": f32([2], [1, 1]),
    "grad.input.x": f32([2], [3, 4]),
    "grad.weight.tiny": f32([2], [1e-7, 0]),
  };
  const judge = async (module: string, dtype: "f32" | "f16", x: number[], tiny: number[], options = "{}") => {
    const tensor = (data: number[]) => ({ shape: [data.length], data: Float32Array.from(data) });
    const got = { "grad.input.x": tensor(x), "grad.weight.tiny": tensor(tiny) };
    return compareGradients(await caseOf(given, { module, options }), got, dtype);
  };
  test("is on the relative L2 error: 1e-5, 1e-4 of a whole model, 1e-2 in f16", async () => {
    const limits = async (module: string, dtype: "f32" | "f16") => (await judge(module, dtype, [3, 4], [0, 0]))[0]!.threshold;
    expect(await limits("CogVideoXBlock", "f32")).toBe(1e-5);
    expect(await limits("CogVideoXTransformer3DModel", "f32")).toBe(1e-4);
    expect(await limits("CogVideoXBlock", "f16")).toBe(1e-2);
    const [x] = await judge("CogVideoXBlock", "f32", [3, 4.0004], [0, 0]);
    expect(x).toMatchObject({ output: "grad.input.x", verdict: "fail", measure: "relative L2" });
  });
  test("is on the error beside the largest, where a gradient is what rounding leaves", async () => {
    const [, tiny] = await judge("CogVideoXBlock", "f32", [3, 4], [4e-5, 0]);
    expect(tiny).toMatchObject({ output: "grad.weight.tiny", verdict: "pass", measure: "L2 of largest" });
    expect((await judge("CogVideoXBlock", "f32", [3, 4], [6e-5, 0]))[1]!.verdict).toBe("fail");
  });
  test("takes three times torch's own error in f16", async () => {
    const options = JSON.stringify({ torch_f16: { "input.x": 1e-3, "grad.weight.tiny": 2e-4 } });
    const [x, tiny] = await judge("CogVideoXBlock", "f16", [3, 4], [0, 0], options);
    expect([x!.threshold, tiny!.threshold]).toEqual([3 * 1e-3, 3 * 2e-4]);
    await expect(judge("CogVideoXBlock", "f16", [3, 4], [0, 0], '{"torch_f16": {"input.x": "small"}}')).rejects.toThrow(
      /options\.torch_f16 must tell an error from 0 by a tensor's name/,
    );
  });
  test("a missing gradient fails", async () => {
    const c = await caseOf(given, { module: "CogVideoXBlock" });
    expect(compareGradients(c, {}, "f32")[0]).toMatchObject({ verdict: "fail", note: "the engine gives no such output" });
  });
});

describe("a case that cannot have gradients", () => {
  const more = { "cotangent.sample": f32([2], [1, 1]), "grad.input.x": f32([2], [1, 1]) };
  test("is told of a module that has none", async () => {
    const options = JSON.stringify({ seed: 1, shape: [2] });
    const draws = await runCase(
      await testGpu(),
      await caseOf({ "output.sample": f32([2], [1, 2]), ...more }, { module: "torch.randn", options }),
    );
    expect(draws).toMatchObject({ verdict: "cannot be run", error: expect.stringContaining("a case of torch.randn has no gradients") });
  });
  test("says which op has none", async () => {
    const source = await folderSource(join(import.meta.dirname, "cases"));
    const c = await readCase({ source, path: "T5EncoderModel/s29_padded.safetensors" }, "T5EncoderModel/s29_padded");
    const [weight, tensor] = [...c.weights].find(([, { shape }]) => shape.length > 1)!;
    const output = "last_hidden_state";
    const more = { cotangents: new Map([[output, c.outputs.get(output)!]]), gradients: new Map([[`weight.${weight}`, tensor]]) };
    const { verdict, error } = await runCase(await testGpu(), { ...c, ...more });
    expect(verdict).toBe("cannot be run");
    expect(error).toMatch(/^\[rms_norm\] an op through which a gradient goes must have one/);
  });
  test("has tiles, which blend", async () => {
    const source = await folderSource(join(import.meta.dirname, "cases"));
    const c = await readCase({ source, path: "AutoencoderKLCogVideoX.decode/1f_tiled.safetensors" }, "tiled");
    const sample = c.outputs.get("sample")!;
    const more = { cotangents: new Map([["sample", sample]]), gradients: new Map([["input.z", c.inputs.get("z")!]]) };
    const { verdict, error } = await runCase(await testGpu(), { ...c, ...more });
    expect(verdict).toBe("cannot be run");
    expect(error).toMatch(/^\[reference\] tiled: gradients are those of a whole picture, got tiling/);
  });
  test("needs a cotangent, and gradients of something", async () => {
    const output = { "output.sample": f32([2], [1, 2]) };
    await expect(caseOf({ ...output, "grad.input.x": f32([2], [1, 1]) })).rejects.toThrow(
      /mine: gradients are of a scalar .* add cotangent/,
    );
    await expect(caseOf({ ...output, ...more, "grad.x": f32([2], [1, 1]) })).rejects.toThrow(
      /gradients must be named grad\.input\.…, .* got "grad\.x"/,
    );
  });
});
