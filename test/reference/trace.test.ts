/** The inspector: every node against the reference's own modules, and a fault named where it was put. */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { folderSource } from "../../src/sources/folder.ts";
import type { CheckpointSource } from "../../src/sources/source.ts";
import { readCase } from "../../src/check/reference/case.ts";
import type { ReferenceCase } from "../../src/check/reference/reference-case.ts";
import { runCase } from "../../src/check/reference/run.ts";
import { testGpu } from "../support/gpu.ts";

let source: CheckpointSource;
beforeAll(async () => void (source = await folderSource(join(import.meta.dirname, "cases"))));
afterAll(() => source[Symbol.asyncDispose]());

const read = (name: string) => readCase({ source, path: `${name}.safetensors` }, name, { trace: true });

/** The case with one value of a weight moved, of a convolution the middle tap: as a fault in that module would have it. */
function withFault(c: ReferenceCase, weight: string, by = 0.5): ReferenceCase {
  const tensor = c.weights.get(weight);
  if (!tensor) throw new Error(`${c.name} has no weight ${weight}`);
  const data = tensor.data.slice();
  const taps = tensor.shape.slice(2).reduce((a, b) => a * b, 1);
  data[Math.floor(data.length / taps / 2) * taps + Math.floor(taps / 2)]! += by;
  return { ...c, weights: new Map([...c.weights, [weight, { ...tensor, data }]]) };
}

/** Layout and statistics: nothing of the reference's is the same thing, and what they give is seen in the next node. */
const ALONE = /(^|\.)(patchify|unpatchify|pad_columns|channels_last|channels_first|group_norm_stats|group_norm_merge)(#\d+)?$/;

const block = (at: string) => ({
  [`${at}norm1.linear.weight`]: `${at}norm1.linear`,
  [`${at}norm1.norm.weight`]: `${at}norm1`,
  [`${at}attn1.to_q.weight`]: `${at}attn1.to_q`,
  [`${at}attn1.to_k.bias`]: `${at}attn1.to_k`,
  [`${at}attn1.to_v.weight`]: `${at}attn1.to_v`,
  [`${at}attn1.norm_q.weight`]: `${at}attn1.norm_q`,
  [`${at}attn1.norm_k.bias`]: `${at}attn1.norm_k`,
  [`${at}attn1.to_out.0.weight`]: `${at}attn1.to_out.0`,
  [`${at}norm2.linear.bias`]: `${at}norm2.linear`,
  [`${at}norm2.norm.bias`]: `${at}norm2`,
  [`${at}ff.net.0.proj.weight`]: `${at}ff.net.0.proj`,
  [`${at}ff.net.2.bias`]: `${at}ff.net.2`,
});
const t5Layer = "encoder.block.1.layer";

/** Where a weight is moved → the module that must be named, of which call. */
const FAULTS: Record<string, { rows: number; faults: Record<string, string>; call?: number }> = {
  "CogVideoXBlock/2x16_traced": { rows: 17, faults: block("") },
  "CogVideoXTransformer3DModel/1_5_i2v_traced": {
    rows: 46,
    faults: {
      ...block("transformer_blocks.1."),
      "time_embedding.linear_1.weight": "time_embedding.linear_1",
      "time_embedding.linear_2.weight": "time_embedding.linear_2",
      "ofs_embedding.linear_1.bias": "ofs_embedding.linear_1",
      "ofs_embedding.linear_2.weight": "ofs_embedding.linear_2",
      "patch_embed.proj.weight": "patch_embed.proj",
      "patch_embed.text_proj.weight": "patch_embed.text_proj",
      "norm_final.weight": "norm_final",
      "norm_out.linear.weight": "norm_out.linear",
      "norm_out.norm.bias": "norm_out",
      "proj_out.weight": "proj_out",
    },
  },
  "CogVideoXTransformer3DModel/2b_traced": {
    rows: 43,
    faults: {
      "patch_embed.proj.weight": "patch_embed.proj",
      "transformer_blocks.0.attn1.to_out.0.bias": "transformer_blocks.0.attn1.to_out.0",
    },
  },
  "T5EncoderModel/traced": {
    rows: 25,
    faults: {
      [`${t5Layer}.0.layer_norm.weight`]: `${t5Layer}.0.layer_norm`,
      [`${t5Layer}.0.SelfAttention.k.weight`]: `${t5Layer}.0.SelfAttention.k`,
      [`${t5Layer}.0.SelfAttention.o.weight`]: `${t5Layer}.0.SelfAttention.o`,
      [`${t5Layer}.1.DenseReluDense.wi_1.weight`]: `${t5Layer}.1.DenseReluDense.wi_1`,
      [`${t5Layer}.1.DenseReluDense.wo.weight`]: `${t5Layer}.1.DenseReluDense.wo`,
      "encoder.final_layer_norm.weight": "encoder.final_layer_norm",
    },
  },
  "AutoencoderKLCogVideoX.encode/17f_traced": {
    rows: 68,
    faults: {
      "encoder.conv_in.conv.weight": "encoder.conv_in",
      "encoder.down_blocks.0.resnets.0.norm1.weight": "encoder.down_blocks.0.resnets.0.norm1",
      "encoder.down_blocks.1.resnets.0.conv_shortcut.weight": "encoder.down_blocks.1.resnets.0.conv_shortcut",
      "encoder.down_blocks.0.resnets.0.conv2.conv.bias": "encoder.down_blocks.0.resnets.0.conv2",
      "encoder.down_blocks.1.downsamplers.0.conv.weight": "encoder.down_blocks.1.downsamplers.0",
      "encoder.conv_out.conv.weight": "encoder.conv_out",
    },
  },
  "AutoencoderKLCogVideoX.decode/7f_traced": {
    rows: 270,
    faults: {
      "decoder.mid_block.resnets.1.conv1.conv.weight": "decoder.mid_block.resnets.1.conv1",
      "decoder.up_blocks.0.resnets.1.norm2.conv_y.conv.weight": "decoder.up_blocks.0.resnets.1.norm2.conv_y",
      "decoder.up_blocks.1.resnets.0.norm1.conv_b.conv.bias": "decoder.up_blocks.1.resnets.0.norm1.conv_b",
      "decoder.up_blocks.1.resnets.0.norm1.norm_layer.weight": "decoder.up_blocks.1.resnets.0.norm1",
      "decoder.up_blocks.0.upsamplers.0.conv.weight": "decoder.up_blocks.0.upsamplers.0",
      "decoder.norm_out.norm_layer.bias": "decoder.norm_out",
      "decoder.conv_out.conv.weight": "decoder.conv_out",
    },
  },
};

describe.each(Object.entries(FAULTS))("%s", (name, { rows, faults }) => {
  test.for(["f32", "f16"] as const)("no node departs in %s, and every node that can be compared is", async (dtype, { skip }) => {
    const gpu = await testGpu();
    skip(dtype === "f16" && !gpu.caps.f16, "needs an adapter with shader-f16");
    const { trace, verdict } = await runCase(gpu, await read(name), { dtype, trace: true });
    expect(trace!.first).toBeNull();
    expect(verdict).toBe("pass");
    expect(trace!.rows.length).toBe(rows);
    expect(trace!.unmatchedNodes.filter((node) => !ALONE.test(node))).toEqual([]);
  });

  test.each(Object.entries(faults))("a fault in %s is found at %s", async (weight, module) => {
    const { trace } = await runCase(await testGpu(), withFault(await read(name), weight), { trace: true });
    expect(trace!.first).toMatchObject({ module, call: 0 });
  });
});

test("a fault in the cache between frame batches is found in the second call", async () => {
  // What the reference kept is moved, as if the engine had kept something else: the first batch agrees in all but that.
  const c = await read("AutoencoderKLCogVideoX.decode/7f_traced");
  const key = "1.decoder.up_blocks.0.resnets.0.conv2:1";
  const kept = c.trace.get(key)!;
  const { trace } = await runCase(
    await testGpu(),
    { ...c, trace: new Map([...c.trace, [key, { ...kept, data: kept.data.map((v) => v + 0.1) }]]) },
    { trace: true },
  );
  expect(trace!.first).toMatchObject({ module: "decoder.up_blocks.0.resnets.0.conv2", what: "conv_cache", call: 1 });
});

test("without the option nothing is traced, and the trace is not read", async () => {
  const name = "T5EncoderModel/traced";
  const c = await readCase({ source, path: `${name}.safetensors` }, name);
  expect(c.trace.size).toBe(0);
  expect((await runCase(await testGpu(), c, { trace: true })).trace).toBeUndefined();
  expect((await runCase(await testGpu(), await read(name))).trace).toBeUndefined();
});

test("a trace of another size is refused by name", async () => {
  const c = await read("T5EncoderModel/traced");
  const key = "0.encoder.final_layer_norm";
  const { verdict, error } = await runCase(
    await testGpu(),
    { ...c, trace: new Map([...c.trace, [key, { shape: [1, 9, 12], data: new Float32Array(108) }]]) },
    { trace: true },
  );
  expect(verdict).toBe("cannot be run");
  expect(error).toContain("[trace] encoder.final_layer_norm must have as many values as the reference's [1, 9, 12], got 216");
});

describe("teacher-forced steps", () => {
  test.for([
    ["CogVideoXPipeline/2b_ddim_batch", 6, 1],
    ["CogVideoXPipeline/5b_dpm_dynamic", 6, 2],
    ["CogVideoXVideoToVideoPipeline/5b_dpm_dynamic", 3, 2],
    ["CogVideoXImageToVideoPipeline/1_5_dpm_padded", 6, 2],
    ["CogVideoXFunControlPipeline/5b_ddim_dynamic", 6, 1],
    ["CogVideoXPipeline/5b_dpm_50", 50, 2],
    ["CogVideoXPipeline/2b_ddim_50", 50, 1],
  ] as const)("%s: %d steps of %d tensors, each within the limit of a module", async ([name, count, tensors]) => {
    const { steps, verdict, outputs } = await runCase(await testGpu(), await read(name));
    expect(verdict).toBe("pass");
    expect(steps).toHaveLength(count * tensors);
    expect(steps!.every((s) => s.threshold === 1e-5 && s.relativeL2! <= 1e-5)).toBe(true);
    expect(outputs.filter((o) => o.output.startsWith("step."))).toHaveLength(tensors);
  });

  /** A reference that says another thing of one step: of what it gave, that step is wrong, and what it gave is where the next begins. */
  const moved = async (name: string, tensor: string, step: number) => {
    const c = await read(name);
    const { shape, data } = c.steps.get(tensor)!;
    const size = data.length / shape[0]!;
    const other = data.map((v, i) => (Math.floor(i / size) === step - 1 ? v * 1.01 : v));
    const { steps } = await runCase(await testGpu(), { ...c, steps: new Map([...c.steps, [tensor, { shape, data: other }]]) });
    return steps!.filter((s) => s.verdict === "fail").map((s) => `${s.output} ${s.step}`);
  };
  test("a wrong step is seen in that step and the one that begins from it, not in those after", async () => {
    expect(await moved("CogVideoXPipeline/2b_ddim_batch", "latents", 3)).toEqual(["step.latents 3", "step.latents 4"]);
    expect(await moved("CogVideoXPipeline/5b_dpm_dynamic", "latents", 3)).toEqual(["step.latents 3", "step.latents 4", "step.original 4"]);
  });
  test("DPM begins from the clean latents of the step before too", async () => {
    expect(await moved("CogVideoXPipeline/5b_dpm_dynamic", "original", 3)).toEqual(["step.latents 4", "step.original 3"]);
  });
  test("a DPM case without them cannot be run from its steps; one without steps runs as ever", async () => {
    const c = await read("CogVideoXPipeline/5b_dpm_dynamic");
    const run = async (steps: ReferenceCase["steps"]) => runCase(await testGpu(), { ...c, steps });
    expect((await run(new Map([["latents", c.steps.get("latents")!]]))).error).toContain("clean latents of the step before");
    expect((await run(new Map([["latents", { shape: [2], data: new Float32Array(2) }]]))).error).toMatch(
      /steps are step\.latents and step\.original \[6, .*\], got step\.latents \[2\]/,
    );
    const plain = await run(new Map());
    expect(plain.verdict).toBe("pass");
    expect(plain.steps).toBeUndefined();
    expect(plain.outputs.map((o) => o.output)).toEqual([...c.outputs.keys()]);
  });
});
