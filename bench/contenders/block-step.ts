/** A training step of a block: the engine's own rules of what is trained, checkpointing by block and updates. */
import { draw, type BenchCase } from "../cases/case.ts";
import { ADAPTED, blockConfig, type BlockStepSizes, RANK } from "../cases/modules.ts";
import { TorchGenerator } from "../../src/diffusion/torch-random.ts";
import { differentiate } from "../../src/gradient/differentiate.ts";
import { watch } from "../../src/gradient/watch.ts";
import { type AskedWeight, Graph } from "../../src/graph/graph.ts";
import { describeSequence, recordBlock } from "../../src/models/cogvideox/forward.ts";
import { transformerWeights } from "../../src/models/cogvideox/weights.ts";
import { fullParameters } from "../../src/training/full.ts";
import { loraParameters } from "../../src/training/lora.ts";
import { optimizerOf, updateSettings } from "../../src/training/optimizer.ts";
import { standIns } from "../../src/training/parameters.ts";
import { recordUpdate } from "../../src/training/update.ts";
import type { Built } from "./built.ts";

export function blockStepBuilder(c: BenchCase<"block_step", BlockStepSizes>): Built {
  const { text, video, timeWidth, trained: what } = c.sizes;
  const config = blockConfig(c.sizes);
  const shapes = new Map([...transformerWeights(config)].filter(([name]) => name.startsWith("transformer_blocks.0.")));
  const trained =
    what === "full" ? fullParameters(shapes.keys()) : loraParameters(shapes, { rank: RANK, targets: ADAPTED }, new TorchGenerator(0));
  const { parameters, standIn } = standIns(trained);
  // States begin with what the case draws.
  const begun = (asked: AskedWeight, graph: Graph) => {
    if (!trained.has(asked.names)) return undefined;
    const drawn = asked.names.map((name) => draw(c.weights[caseName(name)]!));
    const values = new Float32Array(drawn.reduce((n, { length }) => n + length, 0));
    drawn.reduce((at, part) => (values.set(part, at), at + part.length), 0);
    graph.state(asked.names.join("+"), asked.shape, "f32", values);
    return standIn(asked, graph);
  };
  const graph = new Graph(c.name, () => "f32", begun);
  const hidden = watch(graph.input("hidden", c.output));
  const sequence = describeSequence(graph, config, { batch: 1, textLength: text, videoTokens: video, rotary: null });
  const module = "transformer_blocks.0";
  const conditioning = graph.input("conditioning", [1, timeWidth]);
  const y = graph.scope(module, () => recordBlock(graph, config, module, hidden as never, conditioning, sequence, "f32", trained.loras));
  const list = [...parameters];
  const [dx, ...found] = differentiate(
    [{ of: y, gradient: graph.input("dy", c.output) }],
    [hidden as never, ...list.map(([, tensor]) => tensor)],
    c.sizes.keep
      ? {}
      : {
          again: ({ scope }) => (scope.startsWith(module) ? module : undefined),
          keep: ({ op }) => op.name === "attention",
        },
  );
  graph.output("y", dx!);
  // What the next block would read: without it half of the forward pass would be left out.
  graph.output("forward", y);
  const optimizer = optimizerOf({ weightDecay: 0 });
  const gradients = new Map(list.map(([parameter], i) => [parameter, found[i]!] as const));
  recordUpdate(graph, gradients, { optimizer, average: false });
  const [words, patches] = [draw(c.inputs["text"]!), draw(c.inputs["video"]!)];
  const joined = new Float32Array(words.length + patches.length);
  joined.set(words);
  joined.set(patches, words.length);
  const own = [...graph.inputs.keys()].flatMap((name) => {
    const values = trained.input(name);
    return values ? [[name, values] as const] : [];
  });
  return {
    graph,
    inputs: {
      hidden: joined,
      conditioning: draw(c.inputs["conditioning"]!),
      dy: draw(c.inputs["dy"]!),
      // A rate of 0: weights stay, so that every run is the same.
      update: updateSettings(optimizer, { update: 0, lr: 0, maxNorm: 1, lossScale: 1, emaDecay: 0 }),
      ...Object.fromEntries(own),
    },
  };
}

/** An adapter's factor under the name that every contender has for it. */
function caseName(name: string): string {
  const [, part, layer] = /^lora\.(down|up):.*attn1\.(.+)\.weight$/.exec(name) ?? [];
  return layer ? `lora.${layer}.${part === "down" ? "A" : "B"}` : name;
}
