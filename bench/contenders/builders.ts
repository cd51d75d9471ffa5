/** How this engine records each kind of case: in its own layouts, channels last. */
import { draw, permute, type BenchCase } from "../cases/case.ts";
import type { AdaLnSizes, AttentionSizes, ConvSizes, GroupNormSizes, MatmulSizes } from "../cases/figures.ts";
import { Graph } from "../../src/graph/graph.ts";
import type { Tensor } from "../../src/graph/tensor.ts";
import { describeSequence, recordBlock } from "../../src/models/cogvideox/forward.ts";
import { recordT5Block } from "../../src/models/t5/forward.ts";
import { parseVaeConfig } from "../../src/models/vae/config.ts";
import { vaeGraph } from "../../src/models/vae/batches.ts";
import { listed, type ListedSizes } from "../cases/listed.ts";
import { blockConfig, t5Config, type BlockSizes, type DecoderSizes, type T5Sizes } from "../cases/modules.ts";
import { blockStepBuilder } from "./block-step.ts";
import type { Built } from "./built.ts";
import { attentionResults } from "../../src/check/sweep/cases/attention.ts";
import { attentionGradientReference } from "../../src/check/sweep/cases/attention_gradient.ts";
import { Draw } from "../../src/check/sweep/draw.ts";
import { casePlan } from "../../src/check/sweep/run-case.ts";
import { attention } from "../../src/ops/attention.ts";
import { batchSegments } from "../../src/ops/attention/segments.ts";
import { attentionGradient } from "../../src/ops/attention_gradient.ts";
import { conv3d, type ConvAttrs } from "../../src/ops/conv3d.ts";
import { conv3dGradientW } from "../../src/ops/conv3d_gradient_w.ts";
import { conv3dGradientX } from "../../src/ops/conv3d_gradient_x.ts";
import { groupNorm } from "../../src/ops/group_norm.ts";
import { layerNorm } from "../../src/ops/layer_norm.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { matmulNn } from "../../src/ops/matmul_nn.ts";
import { matmulTn } from "../../src/ops/matmul_tn.ts";

type Builder = (c: BenchCase<any, any>) => Built;

/** [B, C, T, H, W] ↔ [B, T, H, W, C] */
const toLast = (data: Float32Array, shape: readonly number[]) => permute(data, shape, [0, 2, 3, 4, 1]);
const toFirst = (data: Float32Array, shape: readonly number[]) =>
  permute(data, [shape[0]!, shape[2]!, shape[3]!, shape[4]!, shape[1]!], [0, 4, 1, 2, 3]);
/** A graph of its own for what `record` records. */
function single(c: BenchCase, record: (graph: Graph) => Tensor): Graph {
  const graph = new Graph(c.name);
  graph.output("y", record(graph));
  return graph;
}
const drawn = (c: BenchCase) => Object.fromEntries(Object.entries(c.inputs).map(([name, spec]) => [name, draw(spec)]));

const matmulBuilder = (c: BenchCase<"matmul", MatmulSizes>): Built => ({
  graph: single(c, (g) => matmul(g.input("x", c.inputs["x"]!.shape), g.weight("w", c.weights["w"]!.shape))),
  inputs: drawn(c),
});

const matmulNnBuilder = (c: BenchCase<"matmul_nn", MatmulSizes>): Built => ({
  graph: single(c, (g) => matmulNn(g.input("x", c.inputs["x"]!.shape), g.weight("w", c.weights["w"]!.shape))),
  inputs: drawn(c),
});

const matmulTnBuilder = (c: BenchCase<"matmul_tn", MatmulSizes>): Built => ({
  graph: single(c, (g) => matmulTn(g.input("a", c.inputs["a"]!.shape), g.input("b", c.inputs["b"]!.shape))),
  inputs: drawn(c),
});

const attentionBuilder = (c: BenchCase<"attention", AttentionSizes>): Built => ({
  graph: single(c, (g) => attention(...(["q", "k", "v"].map((name) => g.input(name, c.inputs[name]!.shape)) as [Tensor, Tensor, Tensor]))),
  inputs: drawn(c),
});

function attentionGradientBuilder(c: BenchCase<"attention_gradient", AttentionSizes>): Built {
  const { heads, length: rows, width: d } = c.sizes;
  const given = drawn(c) as Record<"q" | "k" | "v" | "dy", Float32Array>;
  const { y, lse } = attentionResults({ heads, rows, d }, given);
  const graph = new Graph(c.name);
  const input = (name: string, shape: readonly number[]) => graph.input(name, shape);
  const [q, k, v] = (["q", "k", "v"] as const).map((name) => input(name, [heads, rows, d])) as [Tensor, Tensor, Tensor];
  const [of, dy] = [input("y", [rows, heads * d]), input("dy", [rows, heads * d])];
  const gradients = attentionGradient(
    { q, k, v, y: of, dy, lse: input("lse", [heads, rows]) },
    { scale: 1 / Math.sqrt(d), segments: batchSegments(1, rows), want: new Set(["q", "k", "v"]) },
  );
  for (const name of ["k", "q", "v"] as const) graph.output(`d${name}`, gradients[name]!);
  return {
    graph,
    inputs: { ...given, y: Float32Array.from(y), lse: Float32Array.from(lse) },
    want: () => attentionGradientReference({ heads, rows, d }, given).dk,
  };
}

function convBuilder(c: BenchCase<"conv3d", ConvSizes>): Built {
  const { cin, frames, height, width } = c.sizes;
  return {
    graph: single(c, (g) =>
      conv3d(g.input("x", [1, frames, height, width, cin]), g.weight("w", c.weights["w"]!.shape), {
        bias: g.weight("b", c.weights["b"]!.shape),
      }),
    ),
    inputs: { x: toLast(draw(c.inputs["x"]!), c.inputs["x"]!.shape) },
    read: (y) => toFirst(y, c.output),
  };
}

/** What a causal convolution of 3 × 3 has for attributes. */
const convAttrs = ({ taps }: ConvSizes): ConvAttrs => ({
  stride: [1, 1, 1],
  dilation: 1,
  pad: [1, 1, 1, 1],
  replicate: false,
  padFrames: [taps - 1, 0],
  zeroFrames: false,
  upsample: null,
  keepFirst: true,
  activation: null,
  dtype: "f32",
});

function convDxBuilder(c: BenchCase<"conv3d_gradient_x", ConvSizes>): Built {
  const { cin, cout, frames, height, width } = c.sizes;
  return {
    graph: single(c, (g) =>
      conv3dGradientX(g.input("dy", [1, frames, height, width, cout]), g.weight("w", c.weights["w"]!.shape), {
        conv: convAttrs(c.sizes),
        shape: [1, frames, height, width, cin],
        front: "repeat",
        of: "x",
        dtype: "f32",
      }),
    ),
    inputs: { dy: toLast(draw(c.inputs["dy"]!), c.inputs["dy"]!.shape) },
    read: (y) => toFirst(y, c.output),
  };
}

function convDwBuilder(c: BenchCase<"conv3d_gradient_w", ConvSizes>): Built {
  const { cin, cout, frames, height, width } = c.sizes;
  return {
    graph: single(c, (g) =>
      conv3dGradientW(
        { x: g.input("x", [1, frames, height, width, cin]), dy: g.input("dy", [1, frames, height, width, cout]), cache: undefined },
        { conv: convAttrs(c.sizes), shape: c.output },
      ),
    ),
    inputs: Object.fromEntries(["x", "dy"].map((name) => [name, toLast(draw(c.inputs[name]!), c.inputs[name]!.shape)])),
  };
}

function adaLnBuilder(c: BenchCase<"adaln", AdaLnSizes>): Built {
  const { rows, width } = c.sizes;
  const table = new Float32Array(2 * width);
  table.set(draw(c.inputs["shift"]!), 0);
  table.set(draw(c.inputs["scale"]!), width);
  return {
    graph: single(c, (g) =>
      layerNorm(g.input("x", [rows, width]), {
        weight: g.weight("weight", [width]),
        bias: g.weight("bias", [width]),
        modulation: { table: g.input("table", [2, width]), rows: g.constant("rows", new Uint32Array(rows)) },
      }),
    ),
    inputs: { x: draw(c.inputs["x"]!), table },
  };
}

function groupNormBuilder(c: BenchCase<"group_norm", GroupNormSizes>): Built {
  const { frames, height, width, channels, groups } = c.sizes;
  return {
    graph: single(c, (g) =>
      groupNorm(g.input("x", [1, frames, height, width, channels]), g.weight("weight", [channels]), g.weight("bias", [channels]), {
        groups,
        eps: 1e-6,
        activation: "silu",
      }),
    ),
    inputs: { x: toLast(draw(c.inputs["x"]!), c.inputs["x"]!.shape) },
    read: (y) => toFirst(y, c.output),
  };
}

function blockBuilder(c: BenchCase<"block", BlockSizes>): Built {
  const { text, video, timeWidth } = c.sizes;
  const config = blockConfig(c.sizes);
  const graph = single(c, (g) => {
    const sequence = describeSequence(g, config, { batch: 1, textLength: text, videoTokens: video, rotary: null });
    return recordBlock(
      g,
      config,
      "transformer_blocks.0",
      g.input("hidden", c.output),
      g.input("conditioning", [1, timeWidth]),
      sequence,
      "f32",
    );
  });
  const [words, patches] = [draw(c.inputs["text"]!), draw(c.inputs["video"]!)];
  const hidden = new Float32Array(words.length + patches.length);
  hidden.set(words);
  hidden.set(patches, words.length);
  return { graph, inputs: { hidden, conditioning: draw(c.inputs["conditioning"]!) } };
}

const t5Builder = (c: BenchCase<"t5_block", T5Sizes>): Built => ({
  graph: single(c, (g) =>
    recordT5Block(g, t5Config(c.sizes), 0, g.input("hidden", c.output), g.input("bias", c.inputs["bias"]!.shape), "f32"),
  ),
  inputs: drawn(c),
});

function decoderBuilder(c: BenchCase<"vae_decoder", DecoderSizes>): Built {
  const graph = vaeGraph(
    parseVaeConfig({}),
    { type: () => "f32" },
    { part: "decode", batch: 1, ...c.sizes, format: "sample", dtype: "f32", continues: false, continued: false },
  );
  return { graph, inputs: { x: draw(c.inputs["z"]!) } };
}

function listedBuilder(c: BenchCase<"listed", ListedSizes>): Built {
  const { c: own } = listed(c.sizes);
  const graph = new Graph(c.name);
  const drawing = new Draw(graph, "f32", own.half);
  for (const [name, tensor] of Object.entries(own.record(drawing))) graph.output(name, tensor);
  drawing.fill();
  const first = [...graph.outputs.keys()][0]!;
  return {
    graph,
    inputs: drawing.inputs,
    provider: drawing.provider,
    plan: (caps) => casePlan(graph, drawing, own, caps),
    want: () => own.reference(drawing.values)[first]!,
  };
}

export const builders: Readonly<Record<string, Builder>> = {
  matmul: matmulBuilder,
  matmul_nn: matmulNnBuilder,
  matmul_tn: matmulTnBuilder,
  attention: attentionBuilder,
  attention_gradient: attentionGradientBuilder,
  conv3d: convBuilder,
  conv3d_gradient_x: convDxBuilder,
  conv3d_gradient_w: convDwBuilder,
  adaln: adaLnBuilder,
  group_norm: groupNormBuilder,
  block: blockBuilder,
  block_step: blockStepBuilder,
  t5_block: t5Builder,
  vae_decoder: decoderBuilder,
  listed: listedBuilder,
};
