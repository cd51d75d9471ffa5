/** The transformer under narrow limits: windows, folded grids and uniforms must not change what comes out. */
import { expect, test } from "vitest";
import type { CapabilityOverrides } from "../../../src/gpu/capabilities.ts";
import { parseTransformerConfig } from "../../../src/models/cogvideox/config.ts";
import { transformerWeights } from "../../../src/models/cogvideox/weights.ts";
import { recordTransformer } from "../../../src/models/cogvideox/forward.ts";
import { compile } from "../../../src/plan/compile.ts";
import { Graph } from "../../../src/graph/graph.ts";
import { expectClose, values } from "../../support/compare.ts";
import { limitedGpu, memoryWeights, runGraph } from "../../support/gpu.ts";

const config = parseTransformerConfig({
  num_attention_heads: 4,
  attention_head_dim: 16,
  in_channels: 4,
  out_channels: 4,
  time_embed_dim: 32,
  text_embed_dim: 24,
  num_layers: 1,
  use_rotary_positional_embeddings: true,
  max_text_seq_length: 10,
  sample_height: 16,
  sample_width: 16,
  sample_frames: 9,
});
const weights = Object.fromEntries(
  [...transformerWeights(config)].map(([name, shape], i) => {
    const data = values(
      shape.reduce((a, b) => a * b),
      i + 1,
      /norm/.test(name) && name.endsWith("weight") && shape.length === 1 ? 1 : 0.2,
    );
    return [name, { shape, data: shape.length === 1 && name.endsWith("weight") ? data.map((v) => 1 + 0.2 * v) : data }];
  }),
);
const [batch, frames, height, width] = [2, 3, 16, 16];
const inputs = {
  latents: values(frames * 4 * height * width, 901),
  text: values(batch * 10 * 24, 902),
  timestep: Float32Array.of(999, 999),
};

const build = (g: Graph) => ({
  y: recordTransformer(
    g,
    config,
    {
      latents: g.input("latents", [1, frames, 4, height, width]),
      text: g.input("text", [batch, 10, 24]),
      timestep: g.input("timestep", [batch]),
    },
    "f32",
  ),
});
const whole = runGraph(build, { inputs, weights });

test.each([
  ["CPU kernels", { kind: "software" }],
  ["GPU kernels", { kind: "hardware" }],
] as [string, CapabilityOverrides][])("bindings of 72 KiB, grids of 40, no immediates: %s", async (_name, overrides) => {
  await using gpu = await limitedGpu({ ...overrides, maxBindingBytes: 72 * 1024, maxGrid: 40, immediates: false });
  const graph = new Graph("windows", memoryWeights(weights).type);
  graph.output("y", build(graph).y);
  const plan = compile(graph, gpu.caps);
  // The limits must bite, or this test shows nothing.
  expect(plan.steps.length).toBeGreaterThan(compile(graph, { ...gpu.caps, maxBindingBytes: 1 << 30 }).steps.length + 10);
  const out = await runGraph(build, { gpu, inputs, weights });
  expectClose(out["y"]!, (await whole)["y"]!, 2e-6, [batch, frames, 4, height, width]);
});
