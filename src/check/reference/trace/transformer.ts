/**
 * What the nodes of the transformer must equal.
 *
 *   B batch · T text tokens · V video tokens · S = T + V · D width · N heads · K head width
 *
 * The engine keeps text and video in one sequence, text first; the reference hands them on apart.
 */
import type { Node } from "../../../graph/op.ts";
import type { Tensor } from "../../../graph/tensor.ts";
import { attentionOp } from "../../../ops/attention.ts";
import { joinTokensOp } from "../../../ops/join_tokens.ts";
import { layerNormOp } from "../../../ops/layer_norm.ts";
import { matmulOp } from "../../../ops/matmul.ts";
import { qkNormRopeOp } from "../../../ops/qk_norm_rope.ts";
import { siluOp } from "../../../ops/silu.ts";
import { timestepEmbeddingOp } from "../../../ops/timestep_embedding.ts";
import type { HostTensor } from "../reference-case.ts";
import { rowsFirst, tensorOf, weightModules, type Guide, type Reference, type Sight } from "./tracer.ts";

/** `prefix`: what the engine puts before the module's own paths (`block.` for a block alone). */
export function transformerGuide(prefix = ""): Guide {
  return (node, reference) => {
    const own = (path: string) => (path.startsWith(prefix) ? path.slice(prefix.length) : path);
    return sightsOf(node, reference, weightModules(node).map(own), own(node.scope));
  };
}

function sightsOf(node: Node, reference: Reference, modules: readonly string[], scope: string): readonly Sight[] {
  const get = (path: string) => reference.get(path);
  const { op, inputs } = node;
  const [module = ""] = modules;
  const up = module.split(".").slice(0, -1).join(".");
  // A block's own path with its dot, for nodes of its attention and of its feed-forward layer.
  const part = scope.split(".").at(-1)!;
  const block = part === "attn1" || part === "ff" ? scope.slice(0, -part.length) : "";
  switch (op) {
    case timestepEmbeddingOp: {
      const of = (inputs["t"] as Tensor).name === "ofs" ? "ofs_proj" : "time_proj";
      return [{ module: of, want: repeated(get(of), node) }];
    }
    case siluOp:
      return [{ module: "transformer_blocks.0.norm1.silu", want: get("transformer_blocks.0.norm1.silu") ?? get("norm1.silu") }];
    case joinTokensOp:
      return [{ module: "patch_embed", want: get("patch_embed") }];
    case layerNormOp: {
      if (scope === "") return [{ module: "norm_final", want: get("norm_final") }];
      if (scope === "norm_out") return [{ module: "norm_out", want: get("norm_out") }];
      const norm = `${block}${part === "attn1" ? "norm1" : "norm2"}`;
      return tokens(norm, get(`${norm}:0`), get(`${norm}:1`));
    }
    case qkNormRopeOp:
      return (["q", "k"] as const).map((output) => {
        const want = get(`${block}attn1:${{ q: "query", k: "key" }[output]}`);
        const arrange = want && headsFirst(want.shape);
        return { module: `${block}attn1.norm_${output}`, what: "and rotary embedding", output, want, ...(arrange ? { arrange } : {}) };
      });
    case attentionOp:
      return [{ module: `${block}attn1`, what: "scaled_dot_product_attention", want: get(`${block}attn1.to_out.0:input`) }];
    case matmulOp:
      break;
    default:
      return [];
  }
  if (/attn1\.to_[qkv]$/.test(module)) {
    const y = (node.outputs as Record<string, Tensor>)["y"]!;
    return [{ module, what: "by head", want: get(module), arrange: rowsFirst(y.shape) }];
  }
  if (module.endsWith(".linear_1")) return [{ module, what: "and SiLU", want: repeated(get(`${up}.act`), node) }];
  if (module.endsWith(".linear_2")) {
    const plus = module.startsWith("time_embedding") ? get("ofs_embedding.linear_2") : undefined;
    const want = get(module);
    if (!want || !plus) return [{ module, want: repeated(want, node) }];
    return [{ module, what: "plus ofs_embedding", want: tensorOf(want.shape, (i) => want.data[i]! + plus.data[i % plus.data.length]!) }];
  }
  if (module.endsWith("attn1.to_out.0")) return residual(module, block, reference);
  if (module.endsWith(".ff.net.2") || module === "ff.net.2") {
    const output = block.replace(/\.$/, "");
    const [video, text] = output
      ? [get(`${output}:0`), get(`${output}:1`)]
      : [reference.output("hidden_states"), reference.output("encoder_hidden_states")];
    return tokens(module, video, text, "gated, plus the residual");
  }
  if (module.endsWith("ff.net.0.proj")) return [{ module, what: "and GELU", want: get(up) }];
  if (module === "patch_embed.proj") {
    const want = get(module);
    return [{ module, want, ...(want?.shape.length === 4 ? { arrange: tokensToPlanes(want.shape) } : {}) }];
  }
  return [{ module, want: get(module) }];
}

/** to_out.0 with what is fused into it: the block's input + the gate · the layer's output. */
function residual(module: string, block: string, reference: Reference): readonly Sight[] {
  const [out, gate, textGate] = [reference.get(module), reference.get(`${block}norm1:2`), reference.get(`${block}norm1:3`)];
  const before = blockInput(block, reference);
  if (!out || !gate || !textGate || !before) return [];
  const [batch, length, width] = out.shape as [number, number, number];
  const text = before.text.shape[1]!;
  const want = tensorOf(out.shape, (i) => {
    const [b, s, d] = [Math.floor(i / (length * width)), Math.floor(i / width) % length, i % width];
    const from =
      s < text ? before.text.data[(b * text + s) * width + d]! : before.video.data[(b * (length - text) + s - text) * width + d]!;
    return from + (s < text ? textGate : gate).data[b * width + d]! * out.data[i]!;
  });
  return batch * length * width === want.data.length ? [{ module, what: "gated, plus the residual", want }] : [];
}

/** Text and video as a block gets them: [B, T, D] and [B, V, D]. */
function blockInput(block: string, reference: Reference): { text: HostTensor; video: HostTensor } | undefined {
  const index = Number(/(\d+)\.$/.exec(block)?.[1] ?? -1);
  if (index === 0) {
    const [joint, words] = [reference.get("patch_embed"), reference.get("patch_embed.text_proj")];
    if (!joint || !words) return undefined;
    const [batch, length, width] = joint.shape as [number, number, number];
    const text = words.shape[1]!;
    const part = (from: number, count: number) =>
      tensorOf(
        [batch, count, width],
        (i) => joint.data[(Math.floor(i / (count * width)) * length + from) * width + (i % (count * width))]!,
      );
    return { text: part(0, text), video: part(text, length - text) };
  }
  const of = block.replace(/\d+\.$/, `${index - 1}`);
  const [video, text] =
    index > 0
      ? [reference.get(`${of}:0`), reference.get(`${of}:1`)]
      : [reference.input("hidden_states"), reference.input("encoder_hidden_states")];
  return video && text ? { text, video } : undefined;
}

/** Rows of one sequence [B·S, D] against video [B, V, D] and text [B, T, D]. */
function tokens(module: string, video: HostTensor | undefined, text: HostTensor | undefined, what?: string): Sight[] {
  if (!video || !text) return [];
  const [batch, v, width] = video.shape as [number, number, number];
  const t = text.shape[1]!;
  const rows =
    (first: number, count: number) =>
    (data: Float32Array): Float32Array => {
      const out = new Float32Array(batch * count * width);
      for (let b = 0; b < batch; b++)
        out.set(data.subarray((b * (t + v) + first) * width, (b * (t + v) + first + count) * width), b * count * width);
      return out;
    };
  const of = (name: string) => (what ? `${name}, ${what}` : name);
  return [
    { module, what: of("hidden_states"), want: video, arrange: rows(t, v) },
    { module, what: of("encoder_hidden_states"), want: text, arrange: rows(0, t) },
  ];
}

/** [N, B·S, K] → [B, N, S, K] */
const headsFirst =
  (shape: readonly number[]) =>
  (data: Float32Array): Float32Array => {
    const [batch, heads, length, k] = shape as [number, number, number, number];
    const out = new Float32Array(data.length);
    for (let b = 0; b < batch; b++)
      for (let n = 0; n < heads; n++) {
        const from = (n * batch + b) * length * k;
        out.set(data.subarray(from, from + length * k), (b * heads + n) * length * k);
      }
    return out;
  };

/** Tokens [B, F·h·w, D] → a convolution's [B·F, D, h, w]. */
const tokensToPlanes =
  (shape: readonly number[]) =>
  (data: Float32Array): Float32Array => {
    const [frames, width, h, w] = shape as [number, number, number, number];
    const plane = h * w;
    return tensorOf(
      [frames, width, plane],
      (i) => data[(Math.floor(i / (width * plane)) * plane + (i % plane)) * width + (Math.floor(i / plane) % width)]!,
    ).data;
  };

/** The reference computes `ofs` once for the whole batch. */
function repeated(tensor: HostTensor | undefined, node: Node): HostTensor | undefined {
  const size = (Object.values(node.outputs)[0] as Tensor).size;
  if (!tensor || tensor.data.length === size) return tensor;
  return tensorOf([size / tensor.data.length, ...tensor.shape.slice(1)], (i) => tensor.data[i % tensor.data.length]!);
}
