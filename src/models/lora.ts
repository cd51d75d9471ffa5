/**
 * LoRA: a weight's low-rank change, W + scale · (alpha / rank) · up · down, merged when the weight is read.
 *
 * Hu et al. 2021, arXiv:2106.09685. Key names as diffusers and PEFT write them
 * (`transformer.<module>.lora_A.weight`, `lora_B`), with `.alpha` where there is one (else alpha = rank).
 */
import { toFloat16 } from "../checkpoint/convert.ts";
import { CogwheelError } from "../errors.ts";
import type { WeightProvider } from "../graph/weights.ts";

export interface LoraTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}
export interface LoraAdapter {
  readonly tensors: ReadonlyMap<string, LoraTensor>;
  readonly scale: number;
}

interface Change { up: LoraTensor; down: LoraTensor; factor: number }

/** `provider` with the adapters merged into the weights they name. A key that names no weight of the model is an error. */
export function withLoras<P extends WeightProvider>(provider: P, adapters: readonly LoraAdapter[], knows: (weight: string) => boolean): P {
  const changes = new Map<string, Change[]>();
  for (const { tensors, scale } of adapters) {
    for (const [key, down] of tensors) {
      const module = /^(?:transformer\.)?(.+)\.lora_(?:A|down)\.weight$/.exec(key)?.[1];
      if (module === undefined) continue;
      const up = tensors.get(key.replace(/lora_A\.weight$/, "lora_B.weight").replace(/lora_down\.weight$/, "lora_up.weight"));
      const weight = `${module}.weight`;
      if (!up || up.shape[1] !== down.shape[0]) throw new CogwheelError("lora", `${key} needs its counterpart of the same rank, got ${up ? `[${up.shape.join(", ")}]` : "none"}; the file is incomplete`);
      if (!knows(weight)) throw new CogwheelError("lora", `an adapter must change weights of this model, got ${key}; it was trained for another one`);
      const rank = down.shape[0]!;
      const alpha = tensors.get(key.replace(/lora_(A|down)\.weight$/, "alpha"))?.data[0] ?? rank;
      (changes.get(weight) ?? changes.set(weight, []).get(weight)!).push({ up, down, factor: (scale * alpha) / rank });
    }
  }
  return {
    ...provider,
    async read(name, dtype, signal) {
      const mine = changes.get(name);
      if (!mine) return provider.read(name, dtype, signal);
      const merged = Float32Array.from((await provider.read(name, "f32", signal)) as Float32Array);
      for (const { up, down, factor } of mine) {
        const [out, rank] = up.shape as [number, number];
        const inner = down.shape[1]!;
        if (out * inner !== merged.length) throw new CogwheelError("lora", `a change must have its weight's size, got [${out}, ${inner}] for ${merged.length} values of ${name}; the adapter was trained for another model`);
        for (let o = 0; o < out; o++) for (let r = 0; r < rank; r++) {
          const f = factor * up.data[o * rank + r]!;
          for (let i = 0; i < inner; i++) merged[o * inner + i]! += f * down.data[r * inner + i]!;
        }
      }
      return dtype === "f16" ? toFloat16(new Uint8Array(merged.buffer), "F32").data : merged;
    },
  };
}
