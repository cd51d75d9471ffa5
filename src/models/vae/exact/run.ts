/**
 * Exact tiling: a frame batch is encoded or decoded part by part, and the result is that of the whole picture.
 *
 * The graph runs section by section (cut.ts), each tile after tile (tile.ts) with the halo that its convolutions reach into. Results
 * and the tiles' statistics go to host memory; the statistics are merged exactly (statistics.ts) before the next section begins. No
 * arithmetic is different but the order of those sums. The adapter holds the weights and one tile; the host holds the two or three
 * activations that are alive between sections, or a disk where they are too many.
 */
import { bytesOf } from "../../../graph/dtype.ts";
import type { Gpu } from "../../../gpu/gpu.ts";
import type { Graph } from "../../../graph/graph.ts";
import type { Tensor } from "../../../graph/tensor.ts";
import { compile, type Plan } from "../../../plan/compile.ts";
import { Arenas } from "../../../run/arenas.ts";
import { Program, type RunOptions } from "../../../run/program.ts";
import type { WeightStore } from "../../../run/weight-store.ts";
import { CutGraph, isMerge } from "./cut.ts";
import { HostPlanes, planesBytes } from "./host-planes.ts";
import { MergedStatistics } from "./statistics.ts";
import { recordTile, tilesOf, type Tile } from "./tile.ts";

/** What a run of exact tiling took. */
export interface TilingReport {
  /** Tiles that were run, of all sections and frame batches. */
  readonly tiles: number;
  /** Most bytes of activations on the adapter at once. */
  readonly deviceBytes: number;
  /** Most bytes of activations on the host at once. */
  readonly hostBytes: number;
  /** Most bytes of them on a disk at once, for which the host's memory had no room. */
  readonly spilledBytes: number;
  /** Bytes sent to the adapter and read back from it. */
  readonly trafficBytes: number;
  /** Work of all tiles, of which the halos and what was computed again are the part above that of the whole picture. */
  readonly flops: number;
  readonly wholeFlops: number;
  /** Wall-clock seconds of all, and of moving bytes between host and adapter. */
  readonly seconds: number;
  readonly transferSeconds: number;
}

/** What exact tiling may take. */
export interface ExactLimits {
  /** Bytes of a tile's activations on the adapter. */
  readonly tileBytes: number;
  /** Bytes of activations in the host's memory. */
  readonly hostBytes: number;
}

/** Tensors between frame batches and what is told of a run, over all batches. */
export class ExactRun implements Disposable {
  readonly #caches = new Map<string, HostPlanes>();
  /** All that there are. */
  readonly #planes = new Set<HostPlanes>();
  #report = {
    tiles: 0,
    deviceBytes: 0,
    hostBytes: 0,
    spilledBytes: 0,
    trafficBytes: 0,
    flops: 0,
    wholeFlops: 0,
    seconds: 0,
    transferSeconds: 0,
  };

  constructor(
    private readonly gpu: Gpu,
    private readonly weights: WeightStore,
    private readonly limits: ExactLimits,
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
    const cut = new CutGraph(graph);
    const host = new Map<number, HostPlanes>();
    const norms = new Map<number, Float32Array>();
    const create = async (tensor: Tensor): Promise<HostPlanes> => {
      const size = cut.size(tensor);
      const room = this.limits.hostBytes - this.#bytes(false);
      const made = await HostPlanes.create(size, planesBytes(size) > room);
      this.#planes.add(made);
      return made;
    };
    const frames = graph.inputs.get("x")!;
    const input = await create(frames);
    const whole = { top: 0, left: 0, bottom: input.height, right: input.width };
    input.write(new Uint8Array(x.buffer, x.byteOffset, x.byteLength), whole, whole);
    host.set(frames.id, input);
    for (const [name, { id }] of graph.states) {
      const cache = this.#caches.get(name);
      if (cache) host.set(id, cache);
    }
    this.#caches.clear(); // from here on each lives as long as it is read
    const cost = cut.sections.map(({ nodes }) => nodes.reduce((n, node) => n + node.op.cost(node).flops, 0));
    const total = cost.reduce((a, b) => a + b, 0) || 1;
    const last = cut.lastReaders();
    const results = new Set([...graph.outputs.values(), ...graph.updates.values()].map((t) => t.id));
    let done = 0;
    for (const [i, section] of cut.sections.entries()) {
      const reused = cut.inPlace(section, i, last);
      for (const tensor of section.kept)
        host.set(tensor.id, tensor === reused?.kept ? host.get(reused.residual.id)! : await create(tensor));
      this.#report.hostBytes = Math.max(this.#report.hostBytes, this.#bytes(false));
      this.#report.spilledBytes = Math.max(this.#report.spilledBytes, this.#bytes(true));
      const merged = section.stats.map(() => new MergedStatistics());
      const regions = tilesOf(cut, section, this.gpu.caps, this.limits.tileBytes);
      await this.#section(
        regions.map((region) => () => recordTile(cut, section, region)),
        host,
        norms,
        merged,
        run,
        (share) => onProgress?.((done + share * cost[i]!) / total),
      );
      for (const node of graph.nodes) {
        const at = isMerge(node) ? section.stats.indexOf(node.inputs["stats"]!) : -1;
        if (at >= 0)
          norms.set(Object.values(node.outputs)[0]!.id, merged[at]!.norm(node.attrs as { channels: number; groups: number; eps: number }));
      }
      for (const id of host.keys()) if ((last.get(id) ?? -1) <= i && !results.has(id)) host.delete(id);
      this.#keep(host.values());
      done += cost[i]!;
    }
    for (const [{ name }, { id }] of graph.updates) this.#caches.set(name, host.get(id)!);
    const y = host.get(graph.outputs.get("y")!.id)!;
    const bytes = y.read({ top: 0, left: 0, bottom: y.height, right: y.width });
    this.#keep(this.#caches.values());
    this.#report.seconds += (performance.now() - begun) / 1000;
    return bytes;
  }

  /** Bytes in memory, or on a disk. */
  #bytes(spilled: boolean): number {
    return [...this.#planes].reduce((n, planes) => n + (planes.spilled === spilled ? planes.bytes : 0), 0);
  }

  /** Gives back all but these. */
  #keep(needed: Iterable<HostPlanes>): void {
    const kept = new Set(needed);
    for (const planes of this.#planes)
      if (!kept.has(planes)) {
        planes[Symbol.dispose]();
        this.#planes.delete(planes);
      }
  }

  [Symbol.dispose](): void {
    this.#keep([]);
  }

  async #section(
    tiles: readonly (() => Tile)[],
    host: ReadonlyMap<number, HostPlanes>,
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
          try {
            const { signal } = run;
            const made = await Program.create(this.gpu, plan, this.weights, { arenas, ...(signal ? { signal } : {}) });
            program = { key: tile.key, arenas, program: made };
          } catch (error) {
            arenas[Symbol.dispose]();
            throw error;
          }
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
