/** Clips in one sequence against the same clips one by one, and another mix in the same program. */
import { describe, expect, test } from "vitest";
import { parseTransformerConfig, type TransformerConfig } from "../../../src/models/cogvideox/config.ts";
import { recordTransformer } from "../../../src/models/cogvideox/forward.ts";
import {
  capacityFor,
  packedLists,
  patchRows,
  recordPackedTransformer,
  type PackedCapacity,
  type PackedClip,
} from "../../../src/models/cogvideox/packed.ts";
import { Graph } from "../../../src/graph/graph.ts";
import { compile } from "../../../src/plan/compile.ts";
import { Program } from "../../../src/run/program.ts";
import { WeightStore } from "../../../src/run/weight-store.ts";
import { expectClose, values } from "../../support/compare.ts";
import { drawnWeights } from "../../support/drawn-weights.ts";
import { memoryWeights, runGraph, testGpu } from "../../support/gpu.ts";

const base = {
  num_attention_heads: 3,
  attention_head_dim: 16,
  in_channels: 4,
  out_channels: 4,
  time_embed_dim: 32,
  text_embed_dim: 24,
  num_layers: 2,
  max_text_seq_length: 10,
  sample_height: 8,
  sample_width: 12,
};
const STYLES = {
  "rotary positions (5B)": { ...base, use_rotary_positional_embeddings: true },
  "added positions (2B)": base,
  "patches of two frames, ofs (1.5)": {
    ...base,
    use_rotary_positional_embeddings: true,
    patch_size_t: 2,
    patch_bias: false,
    ofs_embed_dim: 32,
  },
  "a condition on further channels (I2V)": { ...base, in_channels: 8, use_rotary_positional_embeddings: true },
} as const;

interface Given extends PackedClip {
  /** [F, C, H, W] and [T, text_embed_dim] */
  readonly latents: Float32Array;
  readonly words: Float32Array;
  readonly timestep: number;
}

function given(c: TransformerConfig, [frames, height, width]: readonly [number, number, number], seed: number): Given {
  return {
    frames,
    height,
    width,
    text: c.max_text_seq_length,
    latents: values(frames * c.in_channels * height * width, 100 + seed, 2),
    words: values(c.max_text_seq_length * c.text_embed_dim, 200 + seed, 2),
    timestep: (seed * 317) % 1000,
  };
}

/** A program for a capacity, and what it predicts for clips: patches, clip by clip. */
async function packedProgram(c: TransformerConfig, capacity: PackedCapacity) {
  const gpu = await testGpu();
  const provider = memoryWeights(drawnWeights(c));
  const graph = new Graph("packed", provider.type);
  const width = c.in_channels * (c.patch_size_t ?? 1) * c.patch_size ** 2;
  const prediction = recordPackedTransformer(
    graph,
    c,
    capacity,
    {
      patches: graph.input("patches", [capacity.video, width]),
      text: graph.input("text", [capacity.text, c.text_embed_dim]),
      timestep: graph.input("timestep", [capacity.clips]),
      ...(c.ofs_embed_dim === null ? {} : { ofs: graph.input("ofs", [capacity.clips]) }),
    },
    "f32",
  );
  graph.output("prediction", prediction);
  const store = new WeightStore(gpu, provider);
  const program = await Program.create(gpu, compile(graph, gpu.caps), store);
  const run = async (clips: readonly Given[]): Promise<Float32Array[]> => {
    const patches = new Float32Array(capacity.video * width);
    const text = new Float32Array(capacity.text * c.text_embed_dim);
    let [at, word] = [0, 0];
    for (const clip of clips) {
      const rows = patchRows(c, clip.latents, [clip.frames, c.in_channels, clip.height, clip.width]);
      patches.set(rows, at);
      at += rows.length;
      text.set(clip.words, word);
      word += clip.words.length;
    }
    const lists = packedLists(c, capacity, clips, { rope: "pipeline" });
    await gpu.scoped("a pack", () =>
      program.run({
        inputs: {
          ...Object.fromEntries(Object.entries(lists).map(([name, data]) => [`packed.${name}`, data as Float32Array | Uint32Array])),
          patches,
          text,
          timestep: Float32Array.from({ length: capacity.clips }, (_, i) => clips[i]?.timestep ?? 0),
          ...(c.ofs_embed_dim === null ? {} : { ofs: new Float32Array(capacity.clips).fill(2) }),
        },
      }),
    );
    const all = await program.read("prediction");
    let from = 0;
    return clips.map(({ frames, height, width }) => {
      const size = frames * c.out_channels * height * width;
      return all.subarray(from, (from += size));
    });
  };
  return {
    run,
    [Symbol.dispose]: () => {
      program[Symbol.dispose]();
      store[Symbol.dispose]();
    },
  };
}

/** What the model predicts for a clip by itself. */
async function alone(c: TransformerConfig, clip: Given): Promise<Float32Array> {
  const shape = [1, clip.frames, c.in_channels, clip.height, clip.width];
  const out = await runGraph(
    (g) => ({
      y: recordTransformer(
        g,
        c,
        {
          latents: g.input("latents", shape),
          text: g.input("text", [1, clip.text, c.text_embed_dim]),
          timestep: g.input("timestep", [1]),
          ...(c.ofs_embed_dim === null ? {} : { ofs: g.input("ofs", [1]) }),
        },
        "f32",
      ),
    }),
    {
      weights: drawnWeights(c),
      inputs: {
        latents: clip.latents,
        text: clip.words,
        timestep: Float32Array.of(clip.timestep),
        ...(c.ofs_embed_dim === null ? {} : { ofs: Float32Array.of(2) }),
      },
    },
  );
  return patchRows(c, out["y"]!, [clip.frames, c.out_channels, clip.height, clip.width]);
}

describe.each(Object.entries(STYLES))("%s", (_, json) => {
  const c = parseTransformerConfig(json);
  const mix = [given(c, [2, 6, 10], 1), given(c, [4, 8, 12], 2), given(c, [2, 4, 4], 3)];

  test("a pack predicts for each clip what the model predicts for it alone, and a second mix in the same program too", async () => {
    const capacity = { ...capacityFor(c, mix), rows: capacityFor(c, mix).rows + 37, clips: 5, text: 50 };
    using packed = await packedProgram(c, { ...capacity, video: capacity.video + 11 });
    for (const clips of [mix, [given(c, [2, 8, 4], 4), given(c, [4, 4, 6], 5)], mix]) {
      const got = await packed.run(clips);
      for (const [i, clip] of clips.entries()) expectClose(got[i]!, await alone(c, clip), 2e-6);
    }
  });

  test("what fills a pack to the last row leaves no padding", async () => {
    using packed = await packedProgram(c, capacityFor(c, mix));
    const got = await packed.run(mix);
    for (const [i, clip] of mix.entries()) expectClose(got[i]!, await alone(c, clip), 2e-6);
  });
});

test("positions from the table's start do not depend on a clip's size, those of the pipeline do", () => {
  const c = parseTransformerConfig(STYLES["rotary positions (5B)"]);
  const ropeOf = (rope: "prefix" | "pipeline", height: number, width: number) => {
    const clip = given(c, [2, height, width], 1);
    const { rope: table } = packedLists(c, capacityFor(c, [clip]), [clip], { rope });
    // The token at row 1, column 1 of the first frame.
    const token = clip.text + width / 2 + 1;
    return table!.subarray(token * 16, (token + 1) * 16);
  };
  expect(ropeOf("prefix", 4, 4)).toEqual(ropeOf("prefix", 8, 12));
  expect(ropeOf("pipeline", 4, 4)).not.toEqual(ropeOf("pipeline", 8, 12));
});

test("a pack beyond its capacity, a size that patches do not divide, and learned positions are refused", () => {
  const c = parseTransformerConfig(STYLES["rotary positions (5B)"]);
  const clip = { frames: 2, height: 4, width: 4, text: 10 };
  const capacity = capacityFor(c, [clip]);
  expect(() => packedLists(c, capacity, [clip, clip])).toThrow(/\[transformer\] a pack's clips must fit its capacity of 1, got 2/);
  expect(() => packedLists(c, { ...capacity, clips: 2 }, [clip, clip])).toThrow(/a pack's rows must fit its capacity of 18, got 36/);
  expect(() => capacityFor(c, [{ ...clip, width: 5 }])).toThrow(/height and width of 2, got 2 × 4 × 5; pad or crop it/);
  const g = new Graph("learned");
  const learned = { ...c, use_learned_positional_embeddings: true };
  const inputs = { patches: g.input("patches", [8, 16]), text: g.input("text", [10, 24]), timestep: g.input("timestep", [1]) };
  expect(() => recordPackedTransformer(g, learned, capacity, inputs, "f32")).toThrow(/learned positions fix a model to one size/);
});
