/**
 * Plans, followed without a GPU: what every dispatch reads must be what the graph says, wherever the plan put it; nobody may have
 * written over it in between.
 */
import { describe, expect, test } from "vitest";
import type { Capabilities } from "../../src/gpu/capabilities.ts";
import type { BindingInfo } from "../../src/gpu/kernel.ts";
import { Graph } from "../../src/graph/graph.ts";
import type { View } from "../../src/graph/op.ts";
import { rewrite } from "../../src/graph/rewrite.ts";
import type { Tensor } from "../../src/graph/tensor.ts";
import { parseTransformerConfig } from "../../src/models/cogvideox/config.ts";
import { denoiseGraph } from "../../src/models/cogvideox/model.ts";
import { parseT5Config } from "../../src/models/t5/config.ts";
import { t5Graph } from "../../src/models/t5/model.ts";
import { vaeGraphs } from "../../src/models/vae/batches.ts";
import { parseVaeConfig } from "../../src/models/vae/config.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { qkNormRope } from "../../src/ops/qk_norm_rope.ts";
import { rmsNorm } from "../../src/ops/rms_norm.ts";
import { schedulerStep } from "../../src/ops/scheduler_step.ts";
import { silu } from "../../src/ops/silu.ts";
import { compile, type Plan } from "../../src/plan/compile.ts";
import { viewOf } from "../../src/plan/dispatch.ts";
import { testGpu } from "../support/gpu.ts";

/** A buffer as runs of bytes, each with the tensor that was last written there. */
class Memory {
  #runs: { from: number; to: number; owner: Tensor }[] = [];
  write(from: number, to: number, owner: Tensor): void {
    const outside = this.#runs.flatMap((run) => [
      { ...run, to: Math.min(run.to, from) },
      { ...run, from: Math.max(run.from, to) },
    ]);
    this.#runs = [...outside.filter((run) => run.to > run.from), { from, to, owner }];
  }
  /** Does every byte hold the tensor? */
  holds(from: number, to: number, owner: Tensor): boolean {
    return (
      this.#runs.reduce((n, run) => n + (run.owner === owner ? Math.max(0, Math.min(run.to, to) - Math.max(run.from, from)) : 0), 0) ===
      to - from
    );
  }
}

/** Throws where a dispatch, an output or a state finds another tensor than its own. Returns how many bindings were looked at. */
function follow(plan: Plan): { bindings: number; taken: number } {
  const { graph, memory, home } = plan;
  const buffers = new Map<string, Memory>();
  const at = ({ tensor, offset = 0, bytes }: View) => {
    const root = home(tensor.root);
    const place = memory.placements.get(root.id);
    const name = place ? `arena ${place.arena}` : `${root.role} ${root.id}`;
    const buffer = buffers.get(name) ?? buffers.set(name, new Memory()).get(name)!;
    const from = (place?.offset ?? 0) + offset;
    return { name, buffer, from, to: from + (bytes ?? tensor.root.bytes - offset) };
  };
  const given = ({ role }: Tensor) => role === "weight" || role === "constant";
  const mustHold = (view: View, who: string) => {
    const { buffer, from, to, name } = at(view);
    if (!buffer.holds(from, to, view.tensor.root)) throw new Error(`${who} must find ${view.tensor} in ${name}`);
  };
  const put = (view: View) => {
    const { buffer, from, to } = at(view);
    buffer.write(from, to, view.tensor.root);
  };
  for (const tensor of [...graph.inputs.values(), ...graph.states.values()]) put({ tensor });
  let bindings = 0;
  let taken = 0;
  let node: unknown;
  for (const step of plan.steps) {
    const who = step.node.name;
    if (step.node !== node) {
      node = step.node;
      for (const [result, input] of Object.entries(step.node.op.mayTake?.(step.node) ?? {})) {
        const [made, from] = [step.node.outputs[result]!, step.node.inputs[input as string]];
        if (!from || home(made) !== home(from)) continue;
        // The kernel adds to what lies there.
        mustHold({ tensor: from.root }, who);
        taken++;
      }
    }
    const bound = { read: new Set<string>(), read_write: new Set<string>() };
    const writes: View[] = [];
    for (const [name, { access }] of Object.entries(step.dispatch.kernel.bindings) as [string, BindingInfo][]) {
      const view = viewOf((step.dispatch.bindings as Record<string, Tensor | View>)[name]!);
      bindings++;
      if (given(view.tensor)) continue;
      bound[access as "read"].add(at(view).name);
      if (access === "read_write") writes.push(view);
      else mustHold(view, who);
    }
    for (const name of bound.read) if (bound.read_write.has(name)) throw new Error(`${who} binds ${name} in two ways`);
    for (const view of writes) put(view);
  }
  for (const tensor of graph.outputs.values()) mustHold({ tensor }, "an output");
  for (const { from } of plan.copies) mustHold({ tensor: from }, "a copy");
  for (const { from, to } of plan.copies) {
    const { buffer, from: first, to: end } = at({ tensor: to });
    buffer.write(first, end, from.root);
  }
  for (const state of graph.states.values()) {
    const value = graph.updates.get(state)?.root ?? state;
    const { buffer, from, to } = at({ tensor: state });
    if (!buffer.holds(from, to, value)) throw new Error(`${state} must hold ${value} when the run is over`);
  }
  return { bindings, taken };
}

const [ROWS, WIDTH] = [64, 16];

/** Ops that may take and that may not, on views and twice on one tensor, over states, inputs and outputs drawn by chance. */
function drawnGraph(seed: number, windows: boolean): Graph {
  let drawn = seed;
  const roll = (n: number) => Math.floor(((drawn = (Math.imul(drawn, 1103515245) + 12345) >>> 0) / 2 ** 32) * n);
  const graph = new Graph(`drawn ${seed}`, (name) => (name === "w" && seed % 3 === 0 ? "f16" : "f32"));
  const shape = [ROWS, WIDTH];
  const states = ["a", "b", "c"].map((name) => graph.state(name, shape));
  const made: Tensor[] = [...states, graph.input("x", shape)];
  const results: Tensor[] = [];
  const w = graph.weight("w", [WIDTH, WIDTH]);
  const norm = graph.weight("norm", [2, WIDTH]);
  const coefficients = graph.input("coefficients", [8]);
  // The newest more often: chains.
  const one = () => {
    const tensor = made[roll(3) ? Math.max(0, made.length - 1 - roll(3)) : roll(made.length)]!;
    return roll(3) ? tensor : graph.reshape(graph.reshape(tensor, [2, ROWS / 2, WIDTH]), shape);
  };
  const heads = (x: Tensor) => graph.reshape(x, [2, ROWS / 2, WIDTH]);
  const flat = (x: Tensor) => graph.reshape(x, shape);
  const ops = [
    // Of which there is no part: it binds tensors whole.
    () => [windows ? rmsNorm(one(), graph.weight("gain", [WIDTH])) : silu(one())],
    () => [rmsNorm(one(), graph.weight("gain", [WIDTH]))],
    () => [matmul(one(), w, { residual: one() })],
    () => [matmul(one(), w, { residual: one() })],
    () => [matmul(one(), w, { addend: one(), activation: "silu" as const })],
    () => {
      const { q, k } = qkNormRope(heads(one()), heads(one()), { norm: { q: norm, k: norm, eps: 1e-6 } });
      return [flat(q), flat(k)];
    },
    () => {
      const { sample, original } = schedulerStep({ sample: one(), prediction: one(), coefficients, oldSample: one(), noise: one() });
      return [sample, original];
    },
  ];
  for (let i = 0; i < 12; i++) {
    const next = ops[roll(ops.length)]!();
    made.push(...next);
    results.push(...next);
  }
  const result = () => results[roll(results.length)]!;
  for (const state of states) if (roll(4)) graph.update(state, result());
  for (let i = roll(3); i >= 0; i--) graph.output(`y${i}`, result());
  return graph;
}

describe("what a plan puts in one place never gets in the way", () => {
  test.each<[string, Partial<Capabilities>]>([
    ["this adapter", {}],
    ["a GPU", { kind: "hardware" }],
    ["windows", { maxBindingBytes: 2048, maxGrid: 8 }],
  ])("drawn graphs on %s, and what the rewriter makes of them", async (_, limits) => {
    const caps = { ...(await testGpu()).caps, ...limits };
    const seen = { taken: 0, copies: 0, inState: 0 };
    for (let seed = 1; seed <= 150; seed++) {
      const graph = drawnGraph(seed, limits.maxBindingBytes !== undefined);
      const plan = compile(graph, caps);
      const { taken } = follow(plan);
      const copy = compile(rewrite(graph).graph, caps);
      follow(copy);
      expect([copy.bytes, copy.copies.length, copy.steps.map(({ label }) => label)]).toEqual([
        plan.bytes,
        plan.copies.length,
        plan.steps.map(({ label }) => label),
      ]);
      seen.taken += taken;
      seen.copies += plan.copies.length;
      seen.inState += graph.updates.size - plan.copies.length;
    }
    expect(Math.min(...Object.values(seen)), JSON.stringify(seen)).toBeGreaterThan(50);
  });

  const weights = { type: (name: string) => (/\.bias$|norm\w*\.weight$/.test(name) ? ("f32" as const) : ("f16" as const)) };
  const XXL = { d_model: 512, d_kv: 64, d_ff: 1024, num_layers: 2, num_heads: 8, vocab_size: 1024, feed_forward_proj: "gated-gelu" };
  const denoise = (config: object, stochastic: boolean, dtype: "f32" | "f16") =>
    denoiseGraph(
      parseTransformerConfig({ ...config, num_layers: 3 }),
      weights,
      { samples: 2, frames: 3, height: 24, width: 32, textLength: 226, guidance: true, stochastic },
      dtype,
    );
  const vae = (part: "encode" | "decode", frames: number, side: number, dtype: "f32" | "f16") =>
    vaeGraphs(parseVaeConfig({}), weights, { part, batch: 2, frames, height: side, width: side, format: "sample", dtype }).graphs;
  test.each<[string, () => Graph[]]>([
    ["T5", () => [t5Graph(parseT5Config(XXL), weights, { batch: 2, length: 226, dtype: "f32" })]],
    ["transformer 2B", () => [denoise({ num_attention_heads: 30 }, false, "f32")]],
    ["transformer 5B, DPM, f16", () => [denoise({ num_attention_heads: 48, use_rotary_positional_embeddings: true }, true, "f16")]],
    ["VAE decoder", () => vae("decode", 5, 16, "f32")],
    ["VAE decoder, f16", () => vae("decode", 7, 16, "f16")],
    ["VAE encoder", () => vae("encode", 33, 64, "f32")],
  ])("%s", async (_, graphs) => {
    const { caps } = await testGpu();
    for (const graph of graphs())
      for (const kind of ["hardware", "software"] as const)
        for (const maxBindingBytes of [2 ** 27, 2 ** 31]) {
          const { bindings } = follow(compile(graph, { ...caps, kind, f16: true, maxBindingBytes, maxBufferBytes: 2 ** 32 }));
          expect(bindings).toBeGreaterThan(100);
        }
  });
});
