/** A worker: its part of a clip on one device, in step with the others only where it reads what they computed. */
import type { Capabilities } from "../../../gpu/capabilities.ts";
import type { Gpu, OwnedBuffer } from "../../../gpu/gpu.ts";
import type { View } from "../../../graph/op.ts";
import type { Tensor } from "../../../graph/tensor.ts";
import { compile, type CompileOptions, type Plan } from "../../../plan/compile.ts";
import { viewOf } from "../../../plan/dispatch.ts";
import { Arenas, sharedArenas } from "../../../run/arenas.ts";
import { Program, type RunOptions } from "../../../run/program.ts";
import { sharedStates, States } from "../../../run/states.ts";
import type { LoadOptions, WeightStore } from "../../../run/weight-store.ts";
import type { ExchangeGraph } from "./exchange-graph.ts";
import type { Peer } from "./peer.ts";
import { joinRecords, withoutPadding, withPadding } from "./regions.ts";

/** What a worker's part of a clip took. */
export interface WorkerReport {
  /** Which of the workers, from 0 on, and its latent frames (rows of latents, where space is split): from the first to below the last. */
  readonly worker: number;
  readonly from: number;
  readonly to: number;
  /** Bytes given to the other workers: what their convolutions read of this one's, records of norms. */
  readonly haloBytes: number;
  readonly normBytes: number;
  /** Wall-clock seconds of the run, and those of them in which the device had nothing to do until another worker gave something. */
  readonly seconds: number;
  readonly waitingSeconds: number;
  /** Bytes on the device beside the weights. */
  readonly deviceBytes: number;
}

export type PieceRunOptions = Pick<RunOptions, "signal" | "profile" | "checkFinite" | "observe" | "onProgress">;

/** The plan of a worker's graph; made without a GPU. */
export const planPiece = ({ graph, gives, norms }: ExchangeGraph, caps: Capabilities, options: CompileOptions = {}): Plan =>
  compile(graph, caps, { ...options, taken: [...gives.map(({ tensor }) => tensor), ...norms.map(({ own }) => own)] });

/** Bytes on the device beside the weights. */
export function pieceBytes(plans: readonly Plan[], pieces: readonly ExchangeGraph[]): { activations: number; io: number; states: number } {
  const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
  const halos = sharedHalos(plans, pieces);
  const given = sum(pieces.flatMap(({ takes }) => takes.map(({ tensor }) => tensor.bytes)));
  return {
    activations: sum(sharedArenas(plans)) + Math.max(...plans.map(({ bytes }) => bytes.slots)),
    io: sum(plans.map(({ bytes }) => bytes.io)) - given + sum(halos.bytes),
    states: sum([...sharedStates(plans).values()].map(({ bytes }) => bytes)),
  };
}

/** The programs of a worker: one, or that of the first batch of frames and that of all others, which share their memory. */
export class PieceRun implements Disposable {
  #haloBytes = 0;
  #normBytes = 0;
  #waitingSeconds = 0;
  readonly #begun = performance.now();

  private constructor(
    private readonly gpu: Gpu,
    private readonly pieces: readonly ExchangeGraph[],
    private readonly programs: readonly Program[],
    private readonly held: readonly Disposable[],
  ) {}

  /** Loads the weights, unless they are there, and makes the programs. */
  static async create(gpu: Gpu, weights: WeightStore, pieces: readonly ExchangeGraph[], load: LoadOptions = {}): Promise<PieceRun> {
    const plans = pieces.map((piece) => planPiece(piece, gpu.caps));
    const held: Disposable[] = [];
    const hold = <T extends Disposable>(made: T): T => (held.unshift(made), made);
    try {
      const shared = await gpu.scoped("preparing a piece", () => ({
        arenas: hold(new Arenas(gpu, plans)),
        states: hold(new States(gpu, plans)),
        halos: makeHalos(gpu, plans, pieces, hold),
      }));
      const programs: Program[] = [];
      const { arenas, states, halos } = shared;
      for (const [i, plan] of plans.entries())
        programs.push(hold(await Program.create(gpu, plan, weights, { ...load, arenas, states, bind: halos[i]! })));
      return new PieceRun(gpu, pieces, programs, held);
    } catch (error) {
      for (const one of held) one[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Runs a program among its peers.
   * @param turn which run of the clip this is, for the names of regions
   */
  async run(program: number, turn: number, inputs: Record<string, ArrayBufferView>, peer: Peer, options: PieceRunOptions): Promise<void> {
    const { gives, takes, norms } = this.pieces[program]!;
    const later = new Map<string, () => Promise<ArrayBufferView>>();
    const taken = new Map<Tensor, (bytes: ArrayBuffer) => void | Promise<void>>();
    const named = (region: string, later = 0): string => `${turn + later} ${region}`;
    const get = (from: number, region: string) => peer.get(from, named(region), options.signal);
    for (const give of gives)
      taken.set(give.tensor, (bytes) => {
        const packed = withoutPadding(new Uint8Array(bytes), give);
        if (give.worker !== peer.index) this.#haloBytes += packed.byteLength;
        return peer.put(give.worker, named(give.region, give.later), packed);
      });
    for (const take of takes)
      later.set(take.tensor.name, async () => withPadding(await this.#waited(get(take.worker, take.region), options.signal), take));
    for (const norm of norms) {
      taken.set(norm.own, async (bytes) => {
        for (const worker of norm.holders) {
          if (worker !== peer.index) this.#normBytes += bytes.byteLength;
          await peer.put(worker, named(norm.region), new Uint8Array(bytes.slice(0)));
        }
      });
      later.set(norm.all.name, async () => {
        const mine = await get(peer.index, norm.region);
        const all = norm.holders.map((worker) => (worker === peer.index ? mine : get(worker, norm.region)));
        return joinRecords(norm, await this.#waited(Promise.all(all), options.signal));
      });
    }
    await this.programs[program]!.run({ ...options, inputs, later, taken });
  }

  /** Waits for others; only when the device has run dry does it wait too. */
  async #waited<T>(promise: Promise<T>, signal?: AbortSignal): Promise<T> {
    let dry: number | undefined;
    void this.gpu.idle(0, signal).then(
      () => (dry = performance.now()),
      () => undefined,
    );
    const got = await promise;
    if (dry !== undefined) this.#waitingSeconds += (performance.now() - dry) / 1000;
    return got;
  }

  /** Operations of a run, as planned. */
  flops(program: number): number {
    return this.programs[program]!.plan.cost.flops;
  }

  /** Names of what a program gives. */
  outputs(program: number): readonly string[] {
    return [...this.pieces[program]!.graph.outputs.keys()];
  }

  /** What a program gave, in the graph's layout. */
  async read(program: number, output: string, signal?: AbortSignal): Promise<{ bytes: ArrayBuffer; y: Tensor }> {
    const made = this.programs[program]!;
    const y = made.plan.graph.outputs.get(output)!;
    return { bytes: await this.gpu.read(made.buffer(output), 0, y.bytes, signal), y };
  }

  /** What it took so far. */
  report(worker: number, { from, to }: { from: number; to: number }): WorkerReport {
    const { activations, io, states } = pieceBytes(
      this.programs.map(({ plan }) => plan),
      this.pieces,
    );
    return {
      worker,
      from,
      to,
      haloBytes: this.#haloBytes,
      normBytes: this.#normBytes,
      seconds: (performance.now() - this.#begun) / 1000,
      waitingSeconds: this.#waitingSeconds,
      deviceBytes: activations + io + states,
    };
  }

  [Symbol.dispose](): void {
    for (const one of this.held) one[Symbol.dispose]();
  }
}

/**
 * Where what comes from others lies: of one layer after another in the same places, for it is written only when the readers of what lay
 * there before were submitted. Programs share the places, as they run one after another.
 */
function sharedHalos(plans: readonly Plan[], pieces: readonly ExchangeGraph[]): { bytes: number[]; places: Map<string, number>[] } {
  const bytes: number[] = [];
  const places = plans.map((plan, i) => {
    const uses = new Map<Tensor, { first: number; last: number }>();
    for (const [at, { dispatch }] of plan.steps.entries())
      for (const binding of Object.values(dispatch.bindings as Record<string, Tensor | View>)) {
        const { root } = viewOf(binding).tensor;
        uses.set(root, { first: uses.get(root)?.first ?? at, last: at });
      }
    const free: number[] = [];
    const names = new Map<string, number>();
    const inOrder = pieces[i]!.takes.flatMap(({ tensor }) => (uses.has(tensor) ? [{ tensor, ...uses.get(tensor)! }] : []));
    for (const { tensor, first, last } of inOrder.sort((a, b) => a.first - b.first)) {
      const found = free.findIndex((until) => until < first);
      const place = found < 0 ? free.length : found;
      free[place] = last;
      bytes[place] = Math.max(bytes[place] ?? 0, tensor.bytes);
      names.set(tensor.name, place);
    }
    return names;
  });
  return { bytes, places };
}

function makeHalos(
  gpu: Gpu,
  plans: readonly Plan[],
  pieces: readonly ExchangeGraph[],
  hold: (made: OwnedBuffer) => OwnedBuffer,
): Record<string, GPUBuffer>[] {
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
  const { bytes, places } = sharedHalos(plans, pieces);
  const buffers = bytes.map((size, i) => hold(gpu.buffer(`halo${i}`, size, usage)).buffer);
  return places.map((names) => Object.fromEntries([...names].map(([name, place]) => [name, buffers[place]!])));
}
