/** attention_bias: T5's attention. */
import { attentionBiasFlash, attentionBiasQuad } from "#kernels";
import type { Kernel } from "../../gpu/kernel.ts";
import { attentionBias } from "../../ops/attention_bias.ts";
import { cpuKernel, gpuKernel, type OpCase, type OpCases, type Size, type Values } from "../case.ts";

export interface AttentionBiasSizes { readonly batch: number; readonly length: number; readonly heads: number; readonly d: number }

/** softmax(q·kᵀ + bias) · v, by the definition. */
export function attentionBiasReference({ batch, length, heads, d }: AttentionBiasSizes, { qkv, bias }: Values): Float64Array {
  const inner = heads * d;
  const out = new Float64Array(batch * length * inner);
  const at = (b: number, s: number, part: number, h: number): number => ((b * length + s) * 3 + part) * inner + h * d;
  for (let b = 0; b < batch; b++) for (let h = 0; h < heads; h++) for (let q = 0; q < length; q++) {
    const scores = Array.from({ length }, (_, k) => {
      let sum = bias![h * (2 * length - 1) + k - q + length - 1]!;
      for (let i = 0; i < d; i++) sum += qkv![at(b, q, 0, h) + i]! * qkv![at(b, k, 1, h) + i]!;
      return sum;
    });
    const top = scores.reduce((x, y) => Math.max(x, y));
    const weights = scores.map((s) => Math.exp(s - top));
    const total = weights.reduce((x, y) => x + y);
    for (let k = 0; k < length; k++) for (let i = 0; i < d; i++) out[(b * length + q) * inner + h * d + i]! += (weights[k]! / total) * qkv![at(b, k, 2, h) + i]!;
  }
  return out;
}

function one(size: Size, sizes: AttentionBiasSizes, rest: Partial<OpCase> = {}, { spread = 1, title = "" } = {}): OpCase {
  const { batch, length, heads, d } = sizes;
  return {
    size, name: `${batch} × ${length} tokens, ${heads} heads of ${d}${title}`, ...rest,
    record: (draw) => ({
      y: attentionBias(draw.input("qkv", [batch, length, 3 * heads * d], { scale: spread }), draw.input32("bias", [heads, 2 * length - 1], { scale: 2 * spread }), { dtype: draw.type("y") }),
    }),
    reference: (values) => ({ y: attentionBiasReference(sizes, values) }),
  };
}

export const attentionBiasCases: OpCases = {
  op: "attention_bias",
  kernels: [
    cpuKernel(attentionBiasQuad as Kernel),
    gpuKernel(attentionBiasFlash as Kernel),
    // Heads of 128 are refused on GPUs that have no more workgroup memory than WebGPU promises; T5's are 64 wide.
    gpuKernel(attentionBiasFlash as Kernel, { when: { kind: "hardware", maxWorkgroupBytes: 16384 }, takes: (c) => !c.name.includes("of 128") }),
  ],
  tolerance: { f32: 2e-6, f16: 1e-3 },
  cases: [
    one("tiny", { batch: 1, length: 1, heads: 1, d: 4 }),
    one("odd", { batch: 2, length: 13, heads: 3, d: 8 }),
    one("odd", { batch: 1, length: 67, heads: 2, d: 36 }),
    one("odd", { batch: 3, length: 9, heads: 1, d: 128 }),
    // f32 scores of a thousand carry 6e-5 of error into the exponent.
    one("odd", { batch: 1, length: 67, heads: 2, d: 36 }, { tolerance: { f32: 1e-4, f16: 1e-3 } }, { spread: 13, title: ", scores of ±1000" }),
    one("odd", { batch: 4, length: 16, heads: 2, d: 8 }, { limits: { maxBindingBytes: 4096, maxGrid: 3 } }, { title: ", in windows" }),
    one("model", { batch: 1, length: 226, heads: 2, d: 64 }),
  ],
};
