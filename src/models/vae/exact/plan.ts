/** What exact tiling will take, without running it. */
import type { Capabilities } from "../../../gpu/capabilities.ts";
import type { Graph } from "../../../graph/graph.ts";
import type { Tensor } from "../../../graph/tensor.ts";
import type { Choice } from "../../../plan/choice.ts";
import { compile, type Plan } from "../../../plan/compile.ts";
import { CutGraph } from "./cut.ts";
import { recordTile, tilesOf } from "./tile.ts";

/** Of one frame batch: the largest tile, and the host's tensors. */
export function planExact(
  graph: Graph,
  caps: Capabilities,
  budgetBytes: number,
): {
  deviceBytes: number;
  hostBytes: number;
  tiles: number;
  weights: Plan["weights"];
  flops: number;
  choices: Choice[];
  /** A tile's plan of each section, and how many tiles it has. */
  sections: { plan: Plan; tiles: number }[];
} {
  const cut = new CutGraph(graph);
  const weights = new Map<string, Plan["weights"] extends ReadonlyMap<string, infer W> ? W : never>();
  const choices: Choice[] = [];
  const sections: { plan: Plan; tiles: number }[] = [];
  let [deviceBytes, tiles, flops] = [0, 0, 0];
  const last = cut.lastReaders();
  const results = new Set([...graph.outputs.values(), ...graph.updates.values()].map((t) => t.id));
  const alive = new Map<number, Tensor>(
    [...graph.inputs.values(), ...[...graph.states.values()].filter((t) => last.has(t.id))].map((t) => [t.id, t]),
  );
  let hostBytes = 0;
  for (const [i, section] of cut.sections.entries()) {
    const regions = tilesOf(cut, section, caps, budgetBytes);
    tiles += regions.length;
    const plan = compile(recordTile(cut, section, regions[Math.floor(regions.length / 2)]!).graph, caps);
    sections.push({ plan, tiles: regions.length });
    deviceBytes = Math.max(deviceBytes, plan.bytes.activations + plan.bytes.io);
    for (const [key, weight] of plan.weights) weights.set(key, weight);
    choices.push(...plan.choices);
    for (const node of section.nodes) flops += node.op.cost(node).flops;
    const reused = cut.inPlace(section, i, last);
    if (reused) alive.delete(reused.residual.id);
    for (const tensor of section.kept) alive.set(tensor.id, tensor);
    hostBytes = Math.max(
      hostBytes,
      [...alive.values()].reduce((n, t) => n + t.bytes, 0),
    );
    for (const id of alive.keys()) if ((last.get(id) ?? -1) <= i && !results.has(id)) alive.delete(id);
  }
  return { deviceBytes, hostBytes, tiles, weights, flops, choices, sections };
}

/** Positions of a side of the smallest tile: below, most of its work is halo. */
const LEAST_SIDE = 16;

/** What the largest section's smallest tile takes on the adapter. */
export function leastTileBytes(graph: Graph, caps: Capabilities): number {
  const cut = new CutGraph(graph);
  return Math.max(
    ...cut.sections.map((section) => {
      const { height, width } = cut.grid(section);
      const middle = (size: number): number => 2 * Math.floor(Math.max(0, size - LEAST_SIDE) / 4);
      const [top, left] = [middle(height), middle(width)];
      const own = { top, left, bottom: Math.min(height, top + LEAST_SIDE), right: Math.min(width, left + LEAST_SIDE) };
      const { bytes } = compile(recordTile(cut, section, own).graph, caps);
      return bytes.activations + bytes.io;
    }),
  );
}
