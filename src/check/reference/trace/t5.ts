/** What the nodes of the T5 encoder must equal. The engine's paths are the reference's. */
import type { Tensor } from "../../../graph/tensor.ts";
import { attentionOp } from "../../../ops/attention.ts";
import { embeddingOp } from "../../../ops/embedding.ts";
import { gatedGeluOp } from "../../../ops/gated_gelu.ts";
import { matmulOp } from "../../../ops/matmul.ts";
import { relativeBiasOp } from "../../../ops/relative_bias.ts";
import { rmsNormOp } from "../../../ops/rms_norm.ts";
import { columns, rowsFirst, tensorOf, weightModules, type Guide } from "./tracer.ts";

export const t5Guide: Guide = (node, reference) => {
  const modules = weightModules(node);
  const [module = ""] = modules;
  const output = Object.values(node.outputs)[0] as Tensor;
  const block = node.scope;
  switch (node.op) {
    case embeddingOp:
      return [{ module: "encoder.embed_tokens", want: reference.get("encoder.embed_tokens") ?? reference.get("shared") }];
    case relativeBiasOp: {
      // The engine keeps one value for each distance, the reference one for each pair of places.
      const want = reference.get(module);
      const [length = 0, , heads = 0] = want?.shape ?? [];
      return [
        {
          module,
          want,
          arrange: (data) =>
            tensorOf([length, length, heads], (i) => {
              const [q, k, n] = [Math.floor(i / (length * heads)), Math.floor(i / heads) % length, i % heads];
              return data[n * (2 * length - 1) + k - q + length - 1]!;
            }).data,
        },
      ];
    }
    case rmsNormOp:
      return [{ module, want: reference.get(module) }];
    case attentionOp:
      return [
        {
          module: `${block}.layer.0.SelfAttention`,
          what: "softmax(q·kᵀ + bias)·v",
          want: reference.get(`${block}.layer.0.SelfAttention.o:input`),
        },
      ];
    case gatedGeluOp:
      return [
        {
          module: `${block}.layer.1.DenseReluDense`,
          what: "gelu(wi_0) · wi_1",
          want: reference.get(`${block}.layer.1.DenseReluDense.wo:input`),
        },
      ];
    case matmulOp: {
      if (modules.length > 1) {
        const count = output.dim(-1) / modules.length;
        return modules.map((m, i) => ({ module: m, want: reference.get(m), arrange: columns(output.dim(-1), i * count, count) }));
      }
      if (/\.SelfAttention\.[qkv]$/.test(module))
        return [{ module, what: "by head", want: reference.get(module), arrange: rowsFirst(output.shape) }];
      const layer = module.replace(/\.\w+\.\w+$/, "");
      return [{ module, what: "plus the residual", want: reference.get(`${layer}:0`) ?? reference.get(layer) }];
    }
    default:
      return [];
  }
};
