/** Names of adapters' tensors: every dialect gives the same changes, and what cannot be is refused. */
import { describe, expect, it } from "vitest";
import { loraChanges } from "../../src/models/lora/changes.ts";
import type { LoraTensor } from "../../src/models/lora/merge.ts";
import { changesOf, MODULES, pairs, plain, shapes } from "../support/lora.ts";

describe("key names", () => {
  const attention = Object.fromEntries(Object.entries(MODULES).filter(([module]) => module.includes("attn1")));
  const processor = (module: string) =>
    module.replace(/\.to_([qkv])$/, ".processor.to_$1_lora").replace(".to_out.0", ".processor.to_out_lora");
  const dialects: Record<string, (module: string, part: "A" | "B") => string> = {
    diffusers: plain,
    "no prefix": (m, p) => `${m}.lora_${p}.weight`,
    "PEFT, saved": (m, p) => `base_model.model.${m}.lora_${p}.weight`,
    "PEFT, state dict": (m, p) => `base_model.model.transformer.${m}.lora_${p}.default.weight`,
    ComfyUI: (m, p) => `diffusion_model.${m}.lora_${p}.weight`,
    "down and up": (m, p) => `transformer.${m}.lora_${p === "A" ? "down" : "up"}.weight`,
    "lora.down": (m, p) => `transformer.${m}.lora.${p === "A" ? "down" : "up"}.weight`,
    kohya: (m, p) => `lora_unet_${m.replaceAll(".", "_")}.lora_${p === "A" ? "down" : "up"}.weight`,
    "kohya, VideoX-Fun": (m, p) => `lora_unet__${m.replaceAll(".", "_")}.lora_${p === "A" ? "down" : "up"}.weight`,
    processors: (m, p) => `transformer.${processor(m)}.${p === "A" ? "down" : "up"}.weight`,
    "processors, with lora": (m, p) => `transformer.${processor(m)}.lora.${p === "A" ? "down" : "up"}.weight`,
    "linear layers": (m, p) => `transformer.${m}.lora_linear_layer.${p === "A" ? "down" : "up"}.weight`,
    "kohya, the transformer's": (m, p) => `lora_transformer_${m.replaceAll(".", "_")}.lora_${p === "A" ? "down" : "up"}.weight`,
  };
  const want = changesOf(pairs(attention, 3, 50, plain));

  it.for(Object.keys(dialects))("%s: the same changes", (dialect) => {
    expect(want.length).toBe(3);
    expect(changesOf(pairs(attention, 3, 50, dialects[dialect]!))).toEqual(want);
  });

  it("the authors' own: fused q, k, v by number, and an alpha of 1", () => {
    const own: Record<string, string> = {
      "transformer_blocks.0.attn1.to_q": "query_key_value.matrix_?.0",
      "transformer_blocks.0.attn1.to_v": "query_key_value.matrix_?.2",
      "transformer_blocks.0.attn1.to_out.0": "dense.matrix_?.0",
    };
    const got = changesOf(
      pairs(attention, 3, 50, (m, p) => `model.diffusion_model.transformer.layers.0.attention.${own[m]!.replace("?", p)}`),
    );
    const scaled = want.map(([name, list]) => [name, (list as { factor: number }[]).map((c) => ({ ...c, factor: 0.5 / 3 }))]);
    expect(got).toEqual(scaled);
  });

  it("rank and alpha: a tensor, PEFT's config, patterns, rsLoRA", () => {
    const tensors = pairs({ "transformer_blocks.0.attn1.to_q": [32, 32] }, 4, 60, plain);
    const factor = (extra: [string, LoraTensor][] = [], config?: Record<string, unknown>) =>
      (changesOf(new Map([...tensors, ...extra]), config)[0]![1] as { factor: number }[])[0]!.factor;
    const alpha: [string, LoraTensor] = ["transformer.transformer_blocks.0.attn1.to_q.alpha", { shape: [], data: Float32Array.of(2) }];
    expect(factor()).toBe(0.5);
    expect(factor([alpha])).toBe(0.25);
    expect(factor([], { r: 4, lora_alpha: 8 })).toBe(1);
    expect(factor([], { r: 4, lora_alpha: 8, alpha_pattern: { "attn1.to_q": 16 } })).toBe(2);
    expect(factor([], { r: 4, lora_alpha: 8, use_rslora: true })).toBe(2);
  });

  it.for<[string, string, RegExp]>([
    ["LoHa", "proj_out.hada_w1_a", /LoHa is not supported/],
    ["LoKr", "transformer.proj_out.lokr_w1", /LoKr/],
    ["AdaLoRA", "base_model.model.proj_out.lora_E", /AdaLoRA/],
    ["IA3", "base_model.model.proj_out.ia3_l", /IA3/],
    ["VeRA", "base_model.model.proj_out.vera_lambda_b", /VeRA/],
    ["OFT", "base_model.model.proj_out.oft_r", /OFT/],
    ["Tucker", "lora_unet_proj_out.lora_mid.weight", /Tucker/],
    ["a bias of B", "transformer.proj_out.lora_B.bias", /lora_bias/],
    ["a difference", "diffusion_model.proj_out.diff_b", /whole weights/],
    ["a bias", "base_model.model.proj_out.bias", /biases beside the pairs/],
    ["a whole weight", "base_model.model.proj_out.weight", /modules_to_save/],
    ["a text encoder's", "base_model.model.text_encoder.block.0.q.lora_A.weight", /text encoder/],
    ["nothing known", "transformer.proj_out.lora_C.weight", /this is no adapter, or it changes what is not supported/],
  ])("names tensors of %s", ([, key, message]) => {
    const known = new Map([...shapes, ["proj_out.bias", [16]]]);
    const tensors = new Map([...pairs({ proj_out: [16, 32] }, 2, 70, plain), [key, { shape: [1], data: new Float32Array(1) }]]);
    expect(() => loraChanges([{ tensors, scale: 1 }], known.keys(), (name) => known.get(name))).toThrow(message);
    expect(() => loraChanges([{ tensors, scale: 1 }], known.keys(), (name) => known.get(name))).toThrow(key);
  });

  it.for<[string, Map<string, LoraTensor>, RegExp]>([
    [
      "another model's",
      pairs({ "blocks.0.attn.qkv": [32, 32] }, 2, 70, plain),
      /adapter 1: an adapter must change weights of this model, got transformer\.blocks\.0\.attn\.qkv\.lora_A\.weight, which would be blocks\.0\.attn\.qkv\.weight/,
    ],
    [
      "another width",
      pairs({ "transformer_blocks.0.attn1.to_q": [64, 64] }, 2, 70, plain),
      /must change transformer_blocks\.0\.attn1\.to_q\.weight \[32, 32\], got a change of \[64, 64\]/,
    ],
    [
      "half a pair",
      new Map([...pairs({ proj_out: [16, 32] }, 2, 70, plain)].slice(0, 1)),
      /proj_out\.lora_A\.weight \[2, 32\] needs its counterpart, got none/,
    ],
    [
      "two ranks",
      new Map(
        [...pairs({ proj_out: [16, 32] }, 2, 70, plain)].map(([k, t]) =>
          k.includes("lora_B") ? [k, { shape: [16, 3], data: new Float32Array(48) }] : [k, t],
        ) as [string, LoraTensor][],
      ),
      /must share a rank, got \[2, 32\] and \[16, 3\]/,
    ],
    [
      "DoRA",
      new Map([["transformer.proj_out.lora_magnitude_vector", { shape: [16], data: new Float32Array(16) }]]),
      /DoRA is not supported/,
    ],
    [
      "a text encoder's",
      pairs({ "text_encoder.encoder.block.0.q": [4, 4] }, 2, 70, (m, p) => `${m}.lora_${p}.weight`),
      /adapters of the text encoder are not supported/,
    ],
    [
      "no adapter",
      new Map([["decoder.conv_in.weight", { shape: [1], data: new Float32Array(1) }]]),
      /keys must be those of a LoRA .*, got decoder\.conv_in\.weight/,
    ],
    ["nothing", new Map(), /at least one pair of matrices, got none/],
  ])("refuses %s", ([, tensors, message]) => {
    expect(() => changesOf(tensors)).toThrow(message);
  });
});
