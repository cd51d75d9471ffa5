/**
 * Exact tiling: a frame batch is encoded or decoded part by part, and the result is that of the whole picture.
 *
 * What keeps tiles from being exact is GroupNorm: its mean and deviation are those of the whole batch of frames. So the graph is cut
 * into segments at its norms. A segment (a norm's application, a convolution or two, the statistics of what they give) runs tile after
 * tile, each with the halo that its convolutions reach into; its results and the tiles' statistics go to host memory; the statistics
 * are merged exactly (Chan, Golub & LeVeque 1983, in f64) before the next segment begins. No arithmetic is different but the order of
 * those sums. The adapter holds the weights and one tile; the host holds the two or three activations that are alive between segments.
 */
import { CogwheelError } from "../../base/errors.ts";
import type { Capabilities } from "../../gpu/capabilities.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import { bytesOf } from "../../graph/dtype.ts";
import { Graph } from "../../graph/graph.ts";
import type { Node } from "../../graph/op.ts";
import type { Tensor } from "../../graph/tensor.ts";
import type { Choice } from "../../plan/choice.ts";
import { compile, type Plan } from "../../plan/compile.ts";
import { Arenas, Program, type RunOptions } from "../../run/program.ts";
import type { WeightStore } from "../../run/weight-store.ts";
import type { ConvAttrs } from "../../ops/conv3d.ts";
import type { ApplyAttrs } from "../../ops/group_norm_apply.ts";

/** Rows and columns of a tensor, the ends excluded. */
interface Region {
  readonly top: number;
  readonly bottom: number;
  readonly left: number;
  readonly right: number;
}

/** What a run of exact tiling took. */
export interface TilingReport {
  /** Tiles that were run, of all segments and frame batches. */
  readonly tiles: number;
  /** Most bytes of activations on the adapter at once. */
  readonly deviceBytes: number;
  /** Most bytes of activations on the host at once. */
  readonly hostBytes: number;
  /** Bytes sent to the adapter and read back from it. */
  readonly trafficBytes: number;
  /** Work of all tiles, of which the halos and what was computed again are the part above that of the whole picture. */
  readonly flops: number;
  readonly wholeFlops: number;
  /** Wall-clock seconds of all, and of moving bytes between host and adapter. */
  readonly seconds: number;
  readonly transferSeconds: number;
}

/** A tensor in host memory as planes of rows; memory comes with the first write. */
class HostTensor {
  readonly planes: (Uint8Array<ArrayBuffer> | undefined)[];
  constructor(
    readonly height: number,
    readonly width: number,
    /** Bytes of one position. */
    readonly position: number,
    planes: number,
  ) {
    this.planes = Array.from({ length: planes });
  }

  get bytes(): number {
    return this.planes.length * this.height * this.width * this.position;
  }

  read({ top, bottom, left, right }: Region): Uint8Array<ArrayBuffer> {
    const row = (right - left) * this.position;
    const out = new Uint8Array(this.planes.length * (bottom - top) * row);
    let at = 0;
    for (const plane of this.planes)
      for (let h = top; h < bottom; h++, at += row) {
        const from = (h * this.width + left) * this.position;
        out.set(plane!.subarray(from, from + row), at);
      }
    return out;
  }

  /** Puts the part `owned` of a tile that covers `covered`. */
  write(tile: Uint8Array, covered: Region, owned: Region): void {
    const [rows, row] = [covered.bottom - covered.top, (covered.right - covered.left) * this.position];
    const length = (owned.right - owned.left) * this.position;
    for (let p = 0; p < this.planes.length; p++) {
      const plane = (this.planes[p] ??= new Uint8Array(this.height * this.width * this.position));
      for (let h = owned.top; h < owned.bottom; h++) {
        const from = (p * rows + h - covered.top) * row + (owned.left - covered.left) * this.position;
        plane.set(tile.subarray(from, from + length), (h * this.width + owned.left) * this.position);
      }
    }
  }
}

/** Where rows and columns are in a tensor's shape: channels-first tensors [B, C, T, H, W] are the graph's own inputs and outputs. */
interface Layout {
  readonly rows: number;
}
const layoutOf = (tensor: Tensor, channelsFirst: boolean): Layout => ({ rows: channelsFirst ? tensor.shape.length - 2 : 2 });
function sizeOf(tensor: Tensor, { rows }: Layout) {
  const [height, width] = [tensor.shape[rows]!, tensor.shape[rows + 1]!];
  const planes = tensor.shape.slice(0, rows).reduce((a, b) => a * b, 1);
  return { height, width, planes, position: tensor.bytes / (planes * height * width) };
}

interface Segment {
  /** In the order in which they run. */
  readonly nodes: Node[];
  /** Tensors that later segments or the caller need. */
  readonly kept: Tensor[];
  /** Statistics that the next segments' norms need. */
  readonly stats: Tensor[];
}

const isStats = (node: Node): boolean => node.op.name === "group_norm_stats";
const isMerge = (node: Node): boolean => node.op.name === "group_norm_merge";

/**
 * Cuts a recorded frame batch at its norms. Norms themselves are no part of a segment: the host merges their statistics. Two kinds of
 * nodes are computed again wherever they are needed, for that costs less than keeping what they give: what is made of the graph's
 * inputs position by position (a norm's scale and shift of the latents), and doubling convolutions, whose input is a quarter of their output.
 */
export function segmentsOf(graph: Graph): Segment[] {
  const producer = new Map<number, Node>();
  for (const node of graph.nodes) for (const tensor of Object.values(node.outputs)) producer.set(tensor.id, node);
  const activations = (node: Node) =>
    Object.values(node.inputs).filter((t): t is Tensor => t !== undefined && t.root.role !== "weight" && t.root.role !== "constant");
  const number = new Map<Node, number>();
  const ofInputs = new Set<Node>();
  const doubling = (node: Node) => node.op.name === "conv3d" && (node.attrs as ConvAttrs).upsample !== null;
  for (const node of graph.nodes) {
    const from = activations(node).map((t) => producer.get(t.id));
    const pointwise =
      node.op.name === "channels_last" || (node.op.name === "conv3d" && node.inputs["w"]!.shape.slice(2).every((n) => n === 1));
    if (pointwise && from.every((n) => !n || ofInputs.has(n))) ofInputs.add(node);
    number.set(node, Math.max(0, ...from.map((n) => (n ? number.get(n)! + (isMerge(n) ? 1 : 0) : 0))));
  }
  const outputs = new Set([...graph.outputs.values()].map((t) => t.id));
  const count = 1 + Math.max(...number.values());
  const required = new Set<number>(outputs);
  const lists = Array.from({ length: count }, (_, i) => {
    const own = graph.nodes.filter((node) => number.get(node) === i && !isMerge(node) && !ofInputs.has(node));
    const again = new Set<Node>();
    const visit = (node: Node): void => {
      for (const tensor of activations(node)) {
        const from = producer.get(tensor.id);
        if (!from || isMerge(from) || (number.get(from) === i && !ofInputs.has(from))) continue;
        if (!ofInputs.has(from) && !doubling(from)) required.add(tensor.id);
        else if (!again.has(from)) {
          visit(from);
          again.add(from);
        }
      }
    };
    for (const node of own) visit(node);
    return { own, nodes: [...again, ...own] };
  });
  return lists.map(({ own, nodes }) => {
    const made = own.flatMap((node) => Object.values(node.outputs).map((tensor) => ({ node, tensor })));
    return {
      nodes,
      kept: made.filter(({ node, tensor }) => !isStats(node) && required.has(tensor.id)).map(({ tensor }) => tensor),
      stats: made.filter(({ node }) => isStats(node)).map(({ tensor }) => tensor),
    };
  });
}

/** A tile of a segment, recorded. */
interface Tile {
  readonly graph: Graph;
  /** What goes in: the host's tensors by region. */
  readonly inputs: readonly { name: string; tensor: Tensor; region: Region }[];
  /** Inputs that hold a merged norm. */
  readonly norms: readonly { name: string; tensor: Tensor }[];
  /** What comes out, and which part of it is the tile's own. */
  readonly outputs: readonly { name: string; tensor: Tensor; covered: Region; owned: Region }[];
  readonly stats: readonly { name: string; tensor: Tensor }[];
  /** Two tiles with the same key run the same program. */
  readonly key: string;
}

const union = (a: Region | undefined, b: Region): Region =>
  a
    ? {
        top: Math.min(a.top, b.top),
        bottom: Math.max(a.bottom, b.bottom),
        left: Math.min(a.left, b.left),
        right: Math.max(a.right, b.right),
      }
    : b;
const same = (a: Region, b: Region): boolean => a.top === b.top && a.bottom === b.bottom && a.left === b.left && a.right === b.right;

/** Rows (or columns) of a convolution's input under rows a … b of its output, and the padding that is left of it. */
function convRange(size: number, taps: number, stride: number, padBefore: number, doubled: boolean, a: number, b: number) {
  const seen = doubled ? 2 * size : size;
  const begin = a * stride - padBefore;
  const [low, high] = [Math.max(0, begin), Math.min(seen, (b - 1) * stride - padBefore + taps)];
  const [from, to] = doubled ? [Math.floor(low / 2), Math.ceil(high / 2)] : [low, high];
  const [start, length] = doubled ? [2 * from, 2 * (to - from)] : [from, to - from];
  const before = start - begin;
  return { from, to, before, after: (b - a - 1) * stride + taps - length - before };
}

export class ExactRunner {
  readonly #isFirst: (tensor: Tensor) => boolean;
  readonly segments: readonly Segment[];
  readonly #producer = new Map<number, Node>();

  constructor(readonly graph: Graph) {
    // The graph's own input and, as a sample, its output are channels first; all else is channels last.
    const io = new Set([
      graph.inputs.get("x")!.id,
      ...(graph.outputs.get("y")!.shape.length === 5 && graph.nodes.at(-1)!.op.name === "channels_first"
        ? [graph.outputs.get("y")!.id]
        : []),
    ]);
    this.#isFirst = (tensor) => io.has(tensor.id);
    this.segments = segmentsOf(graph);
    for (const node of graph.nodes) for (const tensor of Object.values(node.outputs)) this.#producer.set(tensor.id, node);
  }

  size(tensor: Tensor) {
    return sizeOf(tensor, layoutOf(tensor, this.#isFirst(tensor)));
  }

  /** The size in which a segment's tiles are counted: that of what its last convolution gives. */
  grid(segment: Segment): { height: number; width: number } {
    const last = segment.stats.length
      ? this.#producer.get(segment.stats.at(-1)!.id)!.inputs["x"]!
      : (segment.kept.find((t) => this.graph.outputs.get("y")?.id === t.id) ?? segment.kept.at(-1)!);
    return this.size(last);
  }

  /**
   * A residual that is read for the last time here, position by position: what the segment keeps may take its place in memory.
   * @param last number of the last segment that reads a tensor
   */
  inPlace(segment: Segment, index: number, last: ReadonlyMap<number, number>): { kept: Tensor; residual: Tensor } | undefined {
    for (const node of segment.nodes) {
      const residual = node.op.name === "conv3d" ? node.inputs["residual"] : undefined;
      const kept = Object.values(node.outputs)[0]!;
      if (
        !residual ||
        !segment.kept.includes(kept) ||
        segment.kept.includes(residual) ||
        last.get(residual.id) !== index ||
        residual.bytes !== kept.bytes
      )
        continue;
      const from = this.#producer.get(residual.id);
      // Whoever else reads either of them may reach beyond the tile.
      const others = segment.nodes.some(
        (other) =>
          other !== node &&
          (Object.values(other.inputs).includes(residual) || (!isStats(other) && Object.values(other.inputs).includes(kept))),
      );
      if (from && !segment.nodes.includes(from) && !others) return { kept, residual };
    }
    return undefined;
  }

  /** The last segment that reads each tensor. */
  lastUses(): Map<number, number> {
    const last = new Map<number, number>();
    this.segments.forEach(({ nodes }, i) => {
      for (const node of nodes) for (const tensor of Object.values(node.inputs)) if (tensor) last.set(tensor.id, i);
    });
    return last;
  }

  /** Records the tile `own` (counted in the segment's grid) of a segment. */
  record(segment: Segment, own: Region): Tile {
    const grid = this.grid(segment);
    const scaled = (tensor: Tensor): Region => {
      const { height, width } = this.size(tensor);
      const [h, w] = [height / grid.height, width / grid.width];
      const region = { top: own.top * h, bottom: own.bottom * h, left: own.left * w, right: own.right * w };
      if (!Object.values(region).every(Number.isInteger))
        throw new CogwheelError("vae", `tiles must begin at even rows and columns, got ${JSON.stringify(own)}`);
      return region;
    };
    // Backwards: which part of each tensor is needed.
    const needed = new Map<number, Region>();
    const need = (tensor: Tensor | undefined, region: Region) => tensor && needed.set(tensor.id, union(needed.get(tensor.id), region));
    for (const tensor of segment.kept) need(tensor, scaled(tensor));
    for (const tensor of segment.stats)
      need(this.#producer.get(tensor.id)!.inputs["x"], scaled(this.#producer.get(tensor.id)!.inputs["x"]!));
    const pads = new Map<Node, ConvAttrs["pad"]>();
    const places = new Map<Node, NonNullable<ApplyAttrs["place"]>>();
    for (const node of [...segment.nodes].reverse()) {
      if (isStats(node)) continue;
      const out = needed.get(Object.values(node.outputs)[0]!.id);
      if (!out) continue;
      const { x, residual, cache, scale, shift } = node.inputs as Record<string, Tensor | undefined>;
      if (node.op.name === "conv3d") {
        const attrs = node.attrs as ConvAttrs;
        const w = node.inputs["w"]!;
        const { height, width } = this.size(x!);
        const rows = convRange(height, w.dim(-2), attrs.stride[1], attrs.pad[0], attrs.upsample !== null, out.top, out.bottom);
        const columns = convRange(width, w.dim(-1), attrs.stride[2], attrs.pad[2], attrs.upsample !== null, out.left, out.right);
        pads.set(node, [rows.before, rows.after, columns.before, columns.after]);
        const region = { top: rows.from, bottom: rows.to, left: columns.from, right: columns.to };
        need(x, region);
        need(cache, region);
        need(residual, out);
      } else {
        // The frames that a convolution keeps are taken of all that it reads, which is recorded after them.
        const region = node.op.name === "causal_cache" ? union(needed.get(x!.id), out) : out;
        if (region !== out) needed.set(Object.values(node.outputs)[0]!.id, region);
        need(x, region);
        need(cache, region);
        if (scale && shift) {
          const [big, small] = [this.size(x!), this.size(scale)];
          const [rh, rw] = [big.height / small.height, big.width / small.width];
          if (!Number.isInteger(rh) || !Number.isInteger(rw))
            throw new CogwheelError(
              "vae",
              `exact tiling needs pictures that are a multiple of their latents, got ${big.height} × ${big.width} and ${small.height} × ${small.width}`,
            );
          const region = {
            top: Math.floor(out.top / rh),
            bottom: Math.floor((out.bottom - 1) / rh) + 1,
            left: Math.floor(out.left / rw),
            right: Math.floor((out.right - 1) / rw) + 1,
          };
          need(scale, region);
          need(shift, region);
          places.set(node, {
            stepH: small.height / big.height,
            stepW: small.width / big.width,
            shiftH: out.top - region.top * rh,
            shiftW: out.left - region.left * rw,
          });
        }
      }
    }

    // Forwards: the same nodes on those parts.
    const tile = new Graph(`${this.graph.name}.tile`, this.graph.weightType);
    const made = new Map<number, Tensor>();
    const inputs: { name: string; tensor: Tensor; region: Region }[] = [];
    const norms: { name: string; tensor: Tensor }[] = [];
    const map = (tensor: Tensor, region: Region | undefined): Tensor => {
      const { root } = tensor;
      if (root.role === "weight") return tile.weight(root.weights.length === 1 ? root.weights[0]! : root.weights, tensor.shape, root.dtype);
      const found = made.get(tensor.id);
      if (found) return found;
      const from = this.#producer.get(tensor.id);
      const name = `in${made.size}`;
      if (from && isMerge(from)) {
        norms.push({ name, tensor });
        made.set(tensor.id, tile.input(name, tensor.shape));
      } else {
        const layout = layoutOf(tensor, this.#isFirst(tensor));
        const shape = tensor.shape.map((n, axis) =>
          axis === layout.rows ? region!.bottom - region!.top : axis === layout.rows + 1 ? region!.right - region!.left : n,
        );
        inputs.push({ name, tensor, region: region! });
        made.set(tensor.id, tile.input(name, shape, tensor.dtype));
      }
      return made.get(tensor.id)!;
    };
    for (const node of segment.nodes) {
      const regionOf = (tensor: Tensor): Region | undefined => needed.get(tensor.id);
      const [output] = Object.values(node.outputs) as [Tensor];
      if (!isStats(node) && !regionOf(output)) continue;
      const mapped = Object.fromEntries(Object.entries(node.inputs).map(([key, tensor]) => [key, tensor && map(tensor, regionOf(tensor))]));
      const attrs = pads.has(node)
        ? { ...(node.attrs as ConvAttrs), pad: pads.get(node)! }
        : places.has(node)
          ? { ...(node.attrs as ApplyAttrs), place: places.get(node)! }
          : node.attrs;
      const scope = /^(.+)\.[^.]+$/.exec(node.name)?.[1];
      const record = () => tile.record(node.op, mapped, attrs);
      const out = scope === undefined ? record() : tile.scope(scope, record); // errors and profiles name it as in the whole
      for (const [key, tensor] of Object.entries(node.outputs)) {
        made.set(tensor.id, out[key]!);
        if (isStats(node)) continue;
        const { height, width } = sizeOf(out[key]!, layoutOf(tensor, this.#isFirst(tensor)));
        const want = regionOf(tensor)!;
        if (height !== want.bottom - want.top || width !== want.right - want.left)
          throw new CogwheelError(
            "vae",
            `a tile of ${node.name} must be ${want.bottom - want.top} × ${want.right - want.left}, got ${height} × ${width}; this model cannot be tiled exactly`,
          );
      }
    }
    const outputs = segment.kept.map((tensor, i) => {
      tile.output(`out${i}`, made.get(tensor.id)!);
      return { name: `out${i}`, tensor, covered: needed.get(tensor.id)!, owned: scaled(tensor) };
    });
    const stats = segment.stats.map((tensor, i) => {
      const x = this.#producer.get(tensor.id)!.inputs["x"]!;
      if (!same(needed.get(x.id)!, scaled(x)))
        throw new CogwheelError(
          "vae",
          `statistics of ${x.name} must be of its own part alone, got a wider one; this model cannot be tiled exactly`,
        );
      tile.output(`stats${i}`, made.get(tensor.id)!);
      return { name: `stats${i}`, tensor };
    });
    const key = JSON.stringify([[...tile.inputs.values()].map((t) => t.shape), [...pads.values()], [...places.values()]]);
    return { graph: tile, inputs, norms, outputs, stats, key };
  }

  /** Tiles of a segment: as few as the budget allows, none much wider than high. */
  tiles(segment: Segment, caps: Capabilities, budgetBytes: number): Region[] {
    const { height, width } = this.grid(segment);
    let [h, w] = [height, width];
    const even = (n: number) => Math.max(2, 2 * Math.ceil(n / 4));
    for (;;) {
      const middle = (size: number, n: number) => Math.min(size - Math.min(n, size), Math.floor(size / n / 2) * n);
      const region = { top: middle(height, h), left: middle(width, w), bottom: 0, right: 0 };
      const bytes = planned(
        this.record(segment, { ...region, bottom: Math.min(height, region.top + h), right: Math.min(width, region.left + w) }).graph,
        caps,
      );
      if (bytes <= budgetBytes) break;
      if (h <= 2 && w <= 2)
        throw bytes === Infinity
          ? new CogwheelError(
              "vae",
              `the smallest tile of a ${width} × ${height} picture must fit the adapter's limits, got bindings of ${caps.maxBindingBytes} and buffers of ${caps.maxBufferBytes} bytes at most; use another adapter`,
            )
          : new CogwheelError(
              "vae",
              `the smallest tile of a ${width} × ${height} picture needs ${bytes} bytes, got a budget of ${budgetBytes}; raise budgetBytes`,
            );
      if (w > h) w = even(w);
      else h = even(h);
    }
    const starts = (size: number, n: number) => Array.from({ length: Math.ceil(size / n) }, (_, i) => i * n);
    return starts(height, h).flatMap((top) =>
      starts(width, w).map((left) => ({ top, left, bottom: Math.min(height, top + h), right: Math.min(width, left + w) })),
    );
  }
}

/** Bytes of activations, or infinity where this adapter cannot hold or bind a tensor. */
function planned(graph: Graph, caps: Capabilities): number {
  try {
    const { bytes } = compile(graph, caps);
    return bytes.activations + bytes.io;
  } catch (error) {
    // A tuning table that names what cannot run is no matter of size.
    if (error instanceof CogwheelError && error.room !== "tuning") return Infinity;
    throw error;
  }
}

/** Tensors between frame batches and what is told of a run, over all batches. */
export class ExactRun {
  readonly #caches = new Map<string, HostTensor>();
  #report = { tiles: 0, deviceBytes: 0, hostBytes: 0, trafficBytes: 0, flops: 0, wholeFlops: 0, seconds: 0, transferSeconds: 0 };

  constructor(
    private readonly gpu: Gpu,
    private readonly weights: WeightStore,
    private readonly budgetBytes: number,
  ) {}

  get report(): TilingReport {
    return this.#report;
  }

  /**
   * One frame batch: `x` [B, C, T, H, W] → its output `y`, as bytes in the graph's own layout.
   * @param onProgress share of the batch that is done
   */
  async batch(
    graph: Graph,
    x: Float32Array,
    options: Pick<RunOptions, "signal" | "profile" | "checkFinite"> & { onProgress?: (done: number) => void } = {},
  ): Promise<Uint8Array> {
    const { onProgress, ...run } = options;
    const begun = performance.now();
    this.#report.wholeFlops += graph.nodes.reduce((n, node) => n + node.op.cost(node).flops, 0);
    const runner = new ExactRunner(graph);
    const host = new Map<number, HostTensor>();
    const norms = new Map<number, Float32Array>();
    const create = (tensor: Tensor): HostTensor => {
      const { height, width, planes, position } = runner.size(tensor);
      return new HostTensor(height, width, position, planes);
    };
    for (const [name, tensor] of graph.inputs) {
      if (name !== "x") {
        host.set(tensor.id, this.#caches.get(name)!);
        continue;
      }
      const input = create(tensor);
      const whole = { top: 0, left: 0, bottom: input.height, right: input.width };
      input.write(new Uint8Array(x.buffer, x.byteOffset, x.byteLength), whole, whole);
      host.set(tensor.id, input);
    }
    this.#caches.clear(); // from here on each lives as long as it is read
    const cost = runner.segments.map(({ nodes }) => nodes.reduce((n, node) => n + node.op.cost(node).flops, 0));
    const total = cost.reduce((a, b) => a + b, 0) || 1;
    const last = runner.lastUses();
    const results = new Set([...graph.outputs.values()].map((t) => t.id));
    let done = 0;
    for (const [i, segment] of runner.segments.entries()) {
      const reused = runner.inPlace(segment, i, last);
      for (const tensor of segment.kept) host.set(tensor.id, tensor === reused?.kept ? host.get(reused.residual.id)! : create(tensor));
      this.#report.hostBytes = Math.max(
        this.#report.hostBytes,
        [...new Set(host.values())].reduce((n, t) => n + t.bytes, 0),
      );
      const merged = segment.stats.map(() => new MergedStatistics());
      const regions = runner.tiles(segment, this.gpu.caps, this.budgetBytes);
      await this.#segment(
        regions.map((region) => () => runner.record(segment, region)),
        host,
        norms,
        merged,
        run,
        (share) => onProgress?.((done + share * cost[i]!) / total),
      );
      for (const node of graph.nodes) {
        const at = isMerge(node) ? segment.stats.indexOf(node.inputs["stats"]!) : -1;
        if (at >= 0)
          norms.set(Object.values(node.outputs)[0]!.id, merged[at]!.norm(node.attrs as { channels: number; groups: number; eps: number }));
      }
      for (const id of host.keys()) if ((last.get(id) ?? -1) <= i && !results.has(id)) host.delete(id);
      done += cost[i]!;
    }
    for (const [name, tensor] of graph.outputs)
      if (name.startsWith("next.")) this.#caches.set(name.slice("next.".length), host.get(tensor.id)!);
    const y = host.get(graph.outputs.get("y")!.id)!;
    this.#report.seconds += (performance.now() - begun) / 1000;
    return y.read({ top: 0, left: 0, bottom: y.height, right: y.width });
  }

  async #segment(
    tiles: readonly (() => Tile)[],
    host: ReadonlyMap<number, HostTensor>,
    norms: ReadonlyMap<number, Float32Array>,
    merged: readonly MergedStatistics[],
    run: Pick<RunOptions, "signal" | "profile" | "checkFinite">,
    report: (done: number) => void,
  ): Promise<void> {
    let program: { key: string; program: Program; arenas: Arenas } | undefined;
    const forget = () => {
      program?.program[Symbol.dispose]();
      program?.arenas[Symbol.dispose]();
      program = undefined;
    };
    try {
      // Tiles that run the same program one after another.
      const ordered = tiles.map((record) => record()).sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
      for (const [i, tile] of ordered.entries()) {
        run.signal?.throwIfAborted();
        if (program?.key !== tile.key) {
          forget();
          const plan: Plan = compile(tile.graph, this.gpu.caps);
          const arenas = await this.gpu.scoped("preparing a tile", () => new Arenas(this.gpu, [plan]));
          program = { key: tile.key, arenas, program: undefined as never };
          program.program = await Program.create(this.gpu, plan, this.weights, { arenas, ...(run.signal ? { signal: run.signal } : {}) });
          this.#report.deviceBytes = Math.max(this.#report.deviceBytes, plan.bytes.activations + plan.bytes.io);
        }
        const { program: ready } = program;
        const begun = performance.now();
        const inputs: Record<string, ArrayBufferView> = {};
        for (const { name, tensor, region } of tile.inputs) inputs[name] = host.get(tensor.id)!.read(region);
        for (const { name, tensor } of tile.norms) inputs[name] = norms.get(tensor.id)!;
        const running = performance.now();
        await ready.run({ ...run, inputs });
        const ran = performance.now();
        this.#report.tiles++;
        this.#report.flops += ready.plan.cost.flops;
        this.#report.trafficBytes += Object.values(inputs).reduce((n, v) => n + v.byteLength, 0);
        for (const { name, tensor, covered, owned } of tile.outputs) {
          const out = tile.graph.outputs.get(name)!;
          const bytes = new Uint8Array(await this.gpu.read(ready.buffer(name), 0, out.size * bytesOf[out.dtype], run.signal));
          this.#report.trafficBytes += bytes.byteLength;
          host.get(tensor.id)!.write(bytes, covered, owned);
        }
        this.#report.transferSeconds += (running - begun + performance.now() - ran) / 1000;
        for (const [s, { name, tensor }] of tile.stats.entries())
          merged[s]!.add(await ready.read(name, run.signal), tensor.dim(-1), tensor.dim(0));
        report((i + 1) / ordered.length);
      }
    } finally {
      forget();
    }
  }
}

/** Statistics of slices, merged exactly in f64 as they come. */
class MergedStatistics {
  /** For each batch entry and channel: count, mean, sum of squared deviations. */
  #n = new Float64Array(0);
  #mean = new Float64Array(0);
  #m2 = new Float64Array(0);
  #channels = 0;

  /** stats [B, slices, 3, C] */
  add(stats: Float32Array, channels: number, batches: number): void {
    if (this.#n.length === 0) {
      [this.#n, this.#mean, this.#m2] = [
        new Float64Array(batches * channels),
        new Float64Array(batches * channels),
        new Float64Array(batches * channels),
      ];
      this.#channels = channels;
    }
    const slices = stats.length / (3 * channels * batches);
    for (let b = 0; b < batches; b++)
      for (let s = 0; s < slices; s++)
        for (let c = 0; c < channels; c++) {
          const at = (b * slices + s) * 3 * channels + c;
          this.#merge(b * channels + c, stats[at]!, stats[at + channels]!, stats[at + 2 * channels]!);
        }
  }

  #merge(i: number, n: number, mean: number, m2: number): void {
    const sum = this.#n[i]! + n;
    if (n === 0) return;
    const delta = mean - this.#mean[i]!;
    this.#m2[i]! += m2 + (delta * delta * this.#n[i]! * n) / sum;
    this.#mean[i]! += (delta * n) / sum;
    this.#n[i] = sum;
  }

  /** [B, 2, C]: mean and 1/√(variance + eps) of each channel's group, as group_norm_merge gives them. */
  norm({ channels, groups, eps }: { channels: number; groups: number; eps: number }): Float32Array {
    const padded = this.#channels;
    const out = new Float32Array((this.#n.length / padded) * 2 * padded);
    const size = channels / groups;
    for (let b = 0; b < this.#n.length / padded; b++)
      for (let g = 0; g < groups; g++) {
        let [n, mean, m2] = [0, 0, 0];
        for (let c = 0; c < size; c++) {
          const i = b * padded + g * size + c;
          const sum = n + this.#n[i]!;
          const delta = this.#mean[i]! - mean;
          m2 += this.#m2[i]! + (delta * delta * n * this.#n[i]!) / sum;
          mean += (delta * this.#n[i]!) / sum;
          n = sum;
        }
        for (let c = 0; c < size; c++) {
          out[b * 2 * padded + g * size + c] = mean;
          out[(b * 2 + 1) * padded + g * size + c] = 1 / Math.sqrt(m2 / n + eps);
        }
      }
    return out;
  }
}

/** What exact tiling of one frame batch will take, without running it: the largest tile, and the host's tensors. */
export function planExact(
  graph: Graph,
  caps: Capabilities,
  budgetBytes: number,
): { deviceBytes: number; hostBytes: number; tiles: number; weights: Plan["weights"]; flops: number; choices: Choice[] } {
  const runner = new ExactRunner(graph);
  const weights = new Map<string, Plan["weights"] extends ReadonlyMap<string, infer W> ? W : never>();
  const choices: Choice[] = [];
  let [deviceBytes, tiles, flops] = [0, 0, 0];
  const last = runner.lastUses();
  const outputs = new Set([...graph.outputs.values()].map((t) => t.id));
  const alive = new Map<number, Tensor>([...graph.inputs.values()].map((t) => [t.id, t]));
  let hostBytes = 0;
  for (const [i, segment] of runner.segments.entries()) {
    const regions = runner.tiles(segment, caps, budgetBytes);
    tiles += regions.length;
    const plan = compile(runner.record(segment, regions[Math.floor(regions.length / 2)]!).graph, caps);
    deviceBytes = Math.max(deviceBytes, plan.bytes.activations + plan.bytes.io);
    for (const [key, weight] of plan.weights) weights.set(key, weight);
    choices.push(...plan.choices);
    for (const node of segment.nodes) flops += node.op.cost(node).flops;
    const reused = runner.inPlace(segment, i, last);
    if (reused) alive.delete(reused.residual.id);
    for (const tensor of segment.kept) alive.set(tensor.id, tensor);
    hostBytes = Math.max(
      hostBytes,
      [...alive.values()].reduce((n, t) => n + t.bytes, 0),
    );
    for (const id of alive.keys()) if ((last.get(id) ?? -1) <= i && !outputs.has(id)) alive.delete(id);
  }
  return { deviceBytes, hostBytes, tiles, weights, flops, choices };
}
