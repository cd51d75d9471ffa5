/** Attention and the rotary embedding, which have no weights. */
import { padTo } from "../../../graph/packing.ts";
import { rotaryTable } from "../../../models/cogvideox/positions.ts";
import { attention, batchSegments } from "../../../ops/attention.ts";
import { qkNormRope } from "../../../ops/qk_norm_rope.ts";
import { agree, inputOf } from "../case.ts";
import { Layout } from "../layout.ts";
import type { ReferenceModule } from "../module.ts";
import type { HostTensor } from "../reference-case.ts";
import { runOnce } from "../run-once.ts";
import { rotaryFromArguments } from "./rotary-arguments.ts";

/** [B, H, S, D] as [H, B·S, D padded], the engine's layout of heads. */
function byHead(name: string, { shape }: HostTensor, dtype: "f32" | "f16", padded = shape[3]!): Layout {
  const [b, h, s] = shape as [number, number, number, number];
  const at = ([i, j, t, c]: readonly number[]) => ((j! * b + i!) * s + t!) * padded + c!;
  return new Layout([h, b * s, padded], { [name]: { shape, at } }, dtype);
}

const scaledDotProductAttention: ReferenceModule = async (c, context) => {
  const [q, k, v] = [inputOf(c, "query", 4), inputOf(c, "key", 4), inputOf(c, "value", 4)];
  agree(c, { query: [q, "bhsd"], key: [k, "bhkd"], value: [v, "bhkd"] });
  const [b, h, s, width] = q.shape as [number, number, number, number];
  const { dtype } = context;
  // Heads of a width that is no multiple of 4 are padded with zeros, which add nothing to a logit.
  const d = padTo(width, 4);
  return runOnce(c, context, {
    inputs: {
      query: byHead("input.query", q, dtype, d),
      key: byHead("input.key", k, dtype, d),
      value: byHead("input.value", v, dtype, d),
    },
    outputs: {
      sample: new Layout([b * s, h * d], {
        sample: { shape: q.shape, at: ([i, j, t, x]) => ((i! * s + t!) * h + j!) * d + x! },
      }),
    },
    build: (_, { query, key, value }) => ({
      sample: attention(query!, key!, value!, { segments: batchSegments(b, s, k.shape[2]!), scale: 1 / Math.sqrt(width), dtype }),
    }),
  });
};

const applyRotaryEmb: ReferenceModule = async (c, context) => {
  const x = inputOf(c, "x", 4);
  const [b, , s, d] = x.shape as [number, number, number, number];
  const table = rotaryTable(rotaryFromArguments(c, c.options, d, s));
  return runOnce(c, context, {
    inputs: { x: byHead("input.x", x, context.dtype) },
    outputs: { sample: byHead("sample", x, context.dtype) },
    build: (g, { x: heads }) => {
      const position = g.constant(
        "position",
        Uint32Array.from({ length: b * s }, (_, r) => 1 + (r % s)),
      );
      return { sample: qkNormRope(heads!, heads!, { rope: { table: g.constant("rope", table, [table.length / d, d]), position } }).q };
    },
  });
};

export const attentionModules: Record<string, ReferenceModule> = {
  scaled_dot_product_attention: scaledDotProductAttention,
  apply_rotary_emb: applyRotaryEmb,
};
