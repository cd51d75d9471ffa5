/** A worker: one piece of a clip on one device, in step with the others only where it reads what they computed. */
import type { Capabilities } from "../../../gpu/capabilities.ts";
import type { Gpu, OwnedBuffer } from "../../../gpu/gpu.ts";
import type { Tensor } from "../../../graph/tensor.ts";
import { compile, type CompileOptions, type Plan } from "../../../plan/compile.ts";
import { viewOf } from "../../../plan/dispatch.ts";
import type { View } from "../../../graph/op.ts";
import { Program, type RunOptions } from "../../../run/program.ts";
import type { LoadOptions, WeightStore } from "../../../run/weight-store.ts";
import type { Peer } from "./peer.ts";
import { inputOf, outputOf, type PieceGraph } from "./piece.ts";
import { joinRecords, withoutPadding, withPadding } from "./regions.ts";
import type { Unit } from "./units.ts";

/** What a worker's part of a clip took. */
export interface WorkerReport {
  /** Which of the workers, from 0 on, and its latent frames: from the first to below the last. */
  readonly worker: number;
  readonly from: number;
  readonly to: number;
  /** Bytes given to the other workers: frames that their convolutions look back on, records of norms. */
  readonly haloBytes: number;
  readonly normBytes: number;
  /** Wall-clock seconds of the run, and those of them in which the device had nothing to do until another worker gave something. */
  readonly seconds: number;
  readonly waitingSeconds: number;
  /** Bytes on the device beside the weights. */
  readonly deviceBytes: number;
}

type PieceRunOptions = Pick<RunOptions, "signal" | "profile" | "checkFinite" | "observe" | "onProgress">;

/** The plan of a piece; made without a GPU. */
export const planPiece = ({ graph, halosOut, norms }: PieceGraph, caps: Capabilities, options: CompileOptions = {}): Plan =>
  compile(graph, caps, { ...options, taken: [...halosOut.map(({ frames }) => frames), ...norms.map(({ own }) => own)] });

export class PieceRun implements Disposable {
  private constructor(
    private readonly gpu: Gpu,
    private readonly piece: PieceGraph,
    private readonly program: Program,
    private readonly halos: readonly OwnedBuffer[],
  ) {}

  /** Loads the weights, unless they are there, and makes the program. */
  static async create(
    gpu: Gpu,
    weights: WeightStore,
    piece: PieceGraph,
    options: LoadOptions & { plan?: CompileOptions } = {},
  ): Promise<PieceRun> {
    const { plan: how = {}, ...load } = options;
    const plan = planPiece(piece, gpu.caps, how);
    const owned: OwnedBuffer[] = [];
    try {
      const bind = await gpu.scoped("preparing a piece", () => makeHalos(gpu, plan, piece, owned));
      return new PieceRun(gpu, piece, await Program.create(gpu, plan, weights, { ...load, bind }), owned);
    } catch (error) {
      for (const one of owned) one[Symbol.dispose]();
      throw error;
    }
  }

  /** Bytes on the device beside the weights. */
  get deviceBytes(): number {
    const { bytes } = this.program.plan;
    return bytes.activations + bytes.slots + pieceIo(this.program.plan, this.piece);
  }

  /**
   * Runs the piece among its peers.
   * @param x what goes in of a unit [B, C, T, H, W]
   * @param collect gets what comes out of each, in the graph's layout
   */
  async run(
    x: (unit: Unit) => Float32Array,
    peer: Peer,
    options: PieceRunOptions,
    collect: (unit: Unit, bytes: ArrayBuffer, y: Tensor) => void | Promise<void>,
  ): Promise<WorkerReport> {
    const { piece, program } = this;
    const { graph } = program.plan;
    const begun = performance.now();
    let [haloBytes, normBytes, waitingSeconds] = [0, 0, 0];
    const own = piece.units.slice(piece.piece.from, piece.piece.to);
    const later = new Map<string, () => Promise<ArrayBufferView>>();
    const taken = new Map<Tensor, (bytes: ArrayBuffer) => void | Promise<void>>();
    /** Waits for others; only when the device has run dry does it wait too. */
    const waited = async <T>(promise: Promise<T>): Promise<T> => {
      let dry: number | undefined;
      void this.gpu.idle(0, options.signal).then(
        () => (dry = performance.now()),
        () => undefined,
      );
      const got = await promise;
      if (dry !== undefined) waitingSeconds += (performance.now() - dry) / 1000;
      return got;
    };
    for (const { layer, frames, channels } of piece.halosOut)
      taken.set(frames, (bytes) => {
        const packed = withoutPadding(new Uint8Array(bytes), frames, channels);
        haloBytes += packed.byteLength;
        return peer.put(peer.index + 1, haloOf(layer), packed);
      });
    for (const { layer, frames, channels } of piece.halosIn)
      later.set(frames.name, async () =>
        withPadding(await waited(peer.get(peer.index - 1, haloOf(layer), options.signal)), frames, channels),
      );
    for (const { layer, batch, holders, own, all } of piece.norms) {
      const region = `norm ${layer} of batch ${batch}`;
      taken.set(own, async (bytes) => {
        for (const { worker } of holders) {
          if (worker !== peer.index) normBytes += bytes.byteLength;
          await peer.put(worker, region, new Uint8Array(bytes.slice(0)));
        }
      });
      later.set(all.name, async () => {
        const mine = await peer.get(peer.index, region, options.signal);
        const parts = await waited(
          Promise.all(holders.map(({ worker }) => (worker === peer.index ? mine : peer.get(worker, region, options.signal)))),
        );
        return joinRecords(all, parts);
      });
    }
    await program.run({ ...options, inputs: Object.fromEntries(own.map((unit) => [inputOf(unit), x(unit)])), later, taken });
    for (const unit of own) {
      const y = graph.outputs.get(outputOf(unit))!;
      await collect(unit, await this.gpu.read(program.buffer(outputOf(unit)), 0, y.bytes, options.signal), y);
    }
    const { from, to } = piece.piece;
    const seconds = (performance.now() - begun) / 1000;
    return { worker: peer.index, from, to, haloBytes, normBytes, seconds, waitingSeconds, deviceBytes: this.deviceBytes };
  }

  [Symbol.dispose](): void {
    this.program[Symbol.dispose]();
    for (const one of this.halos) one[Symbol.dispose]();
  }
}

const haloOf = (layer: string): string => `before ${layer}`;

/**
 * Where the frames before the piece lie: those of one layer after another in the same place, for they are written only when the readers of
 * those before were submitted.
 */
function haloPlaces(plan: Plan, { halosIn }: PieceGraph): { readonly bytes: number; readonly names: readonly string[] }[] {
  const uses = new Map<Tensor, { first: number; last: number }>();
  for (const [at, { dispatch }] of plan.steps.entries())
    for (const binding of Object.values(dispatch.bindings as Record<string, Tensor | View>)) {
      const { root } = viewOf(binding).tensor;
      uses.set(root, { first: uses.get(root)?.first ?? at, last: at });
    }
  const places: { last: number; bytes: number; names: string[] }[] = [];
  const inOrder = halosIn.flatMap(({ frames }) => (uses.has(frames) ? [{ frames, ...uses.get(frames)! }] : []));
  for (const { frames, first, last } of inOrder.sort((a, b) => a.first - b.first)) {
    let place = places.find((one) => one.last < first);
    if (!place) places.push((place = { last, bytes: 0, names: [] }));
    place.last = last;
    place.bytes = Math.max(place.bytes, frames.bytes);
    place.names.push(frames.name);
  }
  return places;
}

/** Bytes of inputs, outputs and constants of a piece: its halos share their places. */
export function pieceIo(plan: Plan, piece: PieceGraph): number {
  const given = piece.halosIn.reduce((n, { frames }) => n + frames.bytes, 0);
  return plan.bytes.io - given + haloPlaces(plan, piece).reduce((n, { bytes }) => n + bytes, 0);
}

function makeHalos(gpu: Gpu, plan: Plan, piece: PieceGraph, owned: OwnedBuffer[]): Record<string, GPUBuffer> {
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
  const bind: Record<string, GPUBuffer> = {};
  for (const [i, { bytes, names }] of haloPlaces(plan, piece).entries()) {
    const made = gpu.buffer(`halo${i}`, bytes, usage);
    owned.push(made);
    for (const name of names) bind[name] = made.buffer;
  }
  return bind;
}
