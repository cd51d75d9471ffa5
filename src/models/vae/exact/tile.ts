/** A tile of a section as a graph: the section's nodes on the parts of their tensors that the tile needs, halos and all. */
import { CogwheelError } from "../../../base/errors.ts";
import type { Capabilities } from "../../../gpu/capabilities.ts";
import type { Graph } from "../../../graph/graph.ts";
import type { Node } from "../../../graph/op.ts";
import { sameRegion, union, type Region } from "../../../graph/region.ts";
import { rewrite } from "../../../graph/rewrite.ts";
import type { Tensor } from "../../../graph/tensor.ts";
import { compile } from "../../../plan/compile.ts";
import { isMoving, isStats, movingInputs, type CutGraph, type Section } from "./cut.ts";

/** A tile of a section, recorded. */
export interface Tile {
  readonly graph: Graph;
  /** What goes in: the host's tensors by region. */
  readonly inputs: readonly { name: string; tensor: Tensor; region: Region }[];
  /** Inputs that hold a merged norm. */
  readonly norms: readonly { name: string; tensor: Tensor }[];
  /** What comes out, and which part of it is the tile's own. */
  readonly outputs: readonly { name: string; tensor: Tensor; covered: Region; owned: Region }[];
  readonly stats: readonly { name: string; tensor: Tensor }[];
  /** Two tiles of a section with the same key run the same program. */
  readonly key: string;
}

/** Records the tile `own` (counted in the section's grid) of a section. */
export function recordTile(cut: CutGraph, section: Section, own: Region): Tile {
  const grid = cut.grid(section);
  const scaled = (tensor: Tensor): Region => {
    const { height, width } = cut.size(tensor);
    const [h, w] = [height / grid.height, width / grid.width];
    const region = { top: own.top * h, bottom: own.bottom * h, left: own.left * w, right: own.right * w };
    if (!Object.values(region).every(Number.isInteger))
      throw new CogwheelError("vae", `tiles must begin at even rows and columns, got ${JSON.stringify(own)}`);
    return region;
  };
  const { needed, attrs } = neededParts(cut, section, scaled);

  const inputs: { name: string; tensor: Tensor; region: Region }[] = [];
  const norms: { name: string; tensor: Tensor }[] = [];
  const named = [
    ...section.kept.map((tensor, i) => ({ name: `out${i}`, tensor })),
    ...section.stats.map((tensor, i) => ({ name: `stats${i}`, tensor })),
  ];
  const { graph } = rewrite(cut.graph, {
    name: `${cut.graph.name}.tile`,
    nodes: section.nodes.filter((node) => isStats(node) || attrs.has(node)),
    bring(tensor, tile) {
      const name = `in${tile.inputs.size}`;
      if (cut.isNorm(tensor)) {
        norms.push({ name, tensor });
        return tile.input(name, tensor.shape);
      }
      const region = needed.get(tensor.id)!;
      inputs.push({ name, tensor, region });
      const axis = cut.rowAxis(tensor);
      const size = [region.bottom - region.top, region.right - region.left];
      return tile.input(
        name,
        tensor.shape.map((n, i) => size[i - axis] ?? n),
        tensor.dtype,
      );
    },
    replace(node, given, tile) {
      if (isStats(node)) return undefined;
      const made = tile.record(node.op, given, attrs.get(node));
      for (const [key, tensor] of Object.entries(node.outputs)) {
        const axis = cut.rowAxis(tensor);
        const [height, width] = [made[key]!.shape[axis]!, made[key]!.shape[axis + 1]!];
        const want = needed.get(tensor.id)!;
        if (height !== want.bottom - want.top || width !== want.right - want.left)
          throw inexact(`a tile of ${node.name} must be ${want.bottom - want.top} × ${want.right - want.left}, got ${height} × ${width}`);
      }
      return made;
    },
    outputs: named.map(({ name, tensor }) => [name, tensor]),
  });
  for (const tensor of section.stats) {
    const x = cut.producers.get(tensor.id)!.inputs["x"]!;
    if (!sameRegion(needed.get(x.id)!, scaled(x))) throw inexact(`statistics of ${x.name} must be of its own part alone, got a wider one`);
  }
  return {
    graph,
    inputs,
    norms,
    outputs: named
      .slice(0, section.kept.length)
      .map(({ name, tensor }) => ({ name, tensor, covered: needed.get(tensor.id)!, owned: scaled(tensor) })),
    stats: named.slice(section.kept.length),
    key: JSON.stringify([[...graph.inputs.values()].map((t) => t.shape), placesByOp(attrs)]),
  };
}

const inexact = (what: string): CogwheelError => new CogwheelError("vae", `${what}; this model cannot be tiled exactly`);

/** From the section's results backwards: which part of each tensor a tile needs, and the attributes that compute it. */
function neededParts(
  cut: CutGraph,
  section: Section,
  scaled: (tensor: Tensor) => Region,
): { needed: ReadonlyMap<number, Region>; attrs: ReadonlyMap<Node, unknown> } {
  const needed = new Map<number, Region>();
  const attrs = new Map<Node, unknown>();
  const need = (tensor: Tensor, region: Region) => needed.set(tensor.id, union(needed.get(tensor.id), region));
  for (const tensor of section.kept) need(tensor, scaled(tensor));
  for (const stats of section.stats) {
    const x = cut.producers.get(stats.id)!.inputs["x"]!;
    need(x, scaled(x));
  }
  for (const node of [...section.nodes].reverse()) {
    if (isStats(node)) continue;
    const results = Object.values(node.outputs);
    const out = results.reduce<Region | undefined>((all, { id }) => (needed.has(id) ? union(all, needed.get(id)!) : all), undefined);
    if (!out) continue;
    const { region, reach } = reachOf(node, out, needed);
    for (const tensor of results) needed.set(tensor.id, region);
    attrs.set(node, reach.attrs);
    for (const [key, tensor] of Object.entries(node.inputs)) {
      const part = reach.inputs[key];
      if (tensor && part) need(tensor, part);
      else if (tensor && isMoving(tensor) && !cut.isNorm(tensor))
        throw inexact(`a tile needs a part of what it reads, got all of "${key}" in ${node.name}`);
    }
  }
  return { needed, attrs };
}

/**
 * What an op reads for a part of its result. Where that lies at the same place, it is computed of all that others need of its inputs: the
 * frames that a convolution keeps for the next batch are taken of what it reads, halo and all.
 */
function reachOf(node: Node, out: Region, needed: ReadonlyMap<number, Region>) {
  if (!node.op.reach)
    throw new CogwheelError(
      "vae",
      "a picture can be cut where every op says what its results reach, " +
        `got ${node.op.name} without it in ${node.name}; give the op a reach, or compute the picture whole`,
    );
  const reach = node.op.reach(node, out);
  const parts = Object.entries(reach.inputs) as [string, Region][];
  const given = parts.filter(([key]) => node.inputs[key]);
  const wider = given.reduce((all, [key]) => union(needed.get(node.inputs[key]!.id), all), out);
  const inPlace = given.every(([, part]) => sameRegion(part, out));
  return inPlace && !sameRegion(wider, out) ? { region: wider, reach: node.op.reach(node, wider) } : { region: out, reach };
}

/** The attributes of a tile's nodes, those of one op together, the last nodes first. */
function placesByOp(attrs: ReadonlyMap<Node, unknown>): unknown[][] {
  const lists = new Map<unknown, unknown[]>();
  for (const [{ op }, own] of attrs) (lists.get(op) ?? lists.set(op, []).get(op)!).push(own);
  return [...lists.values()];
}

/** Tiles of a section: as few as the budget allows, none much wider than high. */
export function tilesOf(cut: CutGraph, section: Section, caps: Capabilities, budgetBytes: number): Region[] {
  const { height, width } = cut.grid(section);
  let [h, w] = [height, width];
  const tileAt = (top: number, left: number): Region => ({
    top,
    left,
    bottom: Math.min(height, top + h),
    right: Math.min(width, left + w),
  });
  const even = (n: number) => Math.max(2, 2 * Math.ceil(n / 4));
  for (;;) {
    const middle = (size: number, n: number) => Math.min(size - Math.min(n, size), Math.floor(size / n / 2) * n);
    const { graph } = recordTile(cut, section, tileAt(middle(height, h), middle(width, w)));
    const smallest = h <= 2 && w <= 2;
    // What is too large by a look at its tensors is not planned, which takes the longer the larger it is.
    const bytes = !smallest && heldBytes(graph) > budgetBytes ? Infinity : plannedBytes(graph, caps);
    if (bytes <= budgetBytes) break;
    if (smallest) {
      const [must, remedy] =
        bytes === Infinity
          ? [
              `fit the adapter's limits, got bindings of ${caps.maxBindingBytes} and buffers of ${caps.maxBufferBytes} bytes at most`,
              "use another adapter",
            ]
          : [`fit its budget, got ${bytes} bytes and a budget of ${budgetBytes}`, "raise budgetBytes"];
      throw new CogwheelError("vae", `the smallest tile of a ${width} × ${height} picture must ${must}; ${remedy}`);
    }
    if (w > h) w = even(w);
    else h = even(h);
  }
  const starts = (size: number, n: number) => Array.from({ length: Math.ceil(size / n) }, (_, i) => i * n);
  return starts(height, h).flatMap((top) => starts(width, w).map((left) => tileAt(top, left)));
}

/** Bytes that are there at once at the least: of what a node reads, no two of which share memory. */
const heldBytes = ({ nodes }: Graph): number =>
  Math.max(...nodes.map((node) => [...new Set(movingInputs(node).map(({ root }) => root))].reduce((sum, { bytes }) => sum + bytes, 0)));

/** Bytes of activations, or infinity where this adapter cannot hold or bind a tensor. */
function plannedBytes(graph: Graph, caps: Capabilities): number {
  try {
    const { bytes } = compile(graph, caps);
    return bytes.activations + bytes.io;
  } catch (error) {
    // A tuning table that names what cannot run is no matter of size.
    if (error instanceof CogwheelError && error.room !== "tuning") return Infinity;
    throw error;
  }
}
