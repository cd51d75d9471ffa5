/**
 * Brings streamed weights into their slots (src/plan/slots.ts) while a program runs: in the order of their use, each as soon as the last
 * reader of what lies in its place has been submitted. The queue keeps order, so what is copied there is copied after that reader is done.
 * A run waits where the weights of its next step are not there yet, and only there; meanwhile the device works on what was submitted.
 *
 * How much is under way at once is bounded by the loader's staging memory. What still lies in its place from an earlier run is not brought
 * again, and the weights that the next run begins with come while this one ends, where the caller says that there will be one.
 */
import { CogwheelError } from "../base/errors.ts";
import type { Gpu, OwnedBuffer } from "../gpu/gpu.ts";
import type { Profile } from "../gpu/profile.ts";
import type { Plan } from "../plan/compile.ts";
import { overlap, type Place, type Upload } from "../plan/slots.ts";
import { judged, Misfit } from "./misfit.ts";
import { Unpacker, type PreparedUnpack } from "./unpacker.ts";
import { WatchedReads } from "./watched-reads.ts";
import { WeightLoader } from "./weight-loader.ts";
import type { WeightStore } from "./weight-store.ts";

/** What lies in a slot, whole. */
interface Held extends Place {
  readonly key: string;
  /** The last turn that needs it, and the last step of it that reads it. */
  turn: Turn;
  last: number;
}

/** Seconds without an answer after which a source counts as stalled. Network sources have their own, shorter watch. */
export const STALL_SECONDS = 120;

export interface ArrivalOptions {
  signal?: AbortSignal | undefined;
  /** Default {@link STALL_SECONDS}. */
  stallSeconds?: number | undefined;
}

/** Weights that are under way at once, so that small ones share a submit and none waits for the one before. */
const AT_ONCE = 16;

/** The weights of one run. */
class Turn {
  /** How many of the uploads are there, without a gap. */
  there = 0;
  readonly #arrived = new Set<Upload>();
  error: unknown;
  readonly controller = new AbortController();

  constructor(
    readonly plan: Plan,
    /** Steps of all runs before this one. */
    readonly base: number,
  ) {}

  /** Is there all that steps up to this one read? */
  ready(step: number): boolean {
    const next = this.plan.slots.uploads[this.there];
    return next === undefined || next.before > step;
  }

  arrived(upload: Upload): void {
    const { uploads } = this.plan.slots;
    this.#arrived.add(upload);
    while (this.#arrived.delete(uploads[this.there]!)) this.there++;
  }

  /** What is under way is given up. */
  fail(error: unknown): void {
    this.error ??= error ?? new Error("unknown");
    if (!this.controller.signal.aborted) this.controller.abort(this.error);
  }
}

export class Streamer implements Disposable {
  readonly #buffers: OwnedBuffer[] = [];
  readonly #held = new Set<Held>();
  #loader: WeightLoader | undefined;
  /** Of weights that stay as they are stored, and what unpacks each to each of its places. */
  #unpacker: Unpacker | undefined;
  readonly #prepared = new Map<string, readonly PreparedUnpack[]>();
  #current: Turn | undefined;
  #coming: Turn | undefined;
  /** Steps that were submitted, of all runs. */
  #submitted = 0;
  /** Resolves when the last turn that was begun brings nothing any more. */
  #settled: Promise<void> = Promise.resolve();
  /** Turns that are not over. */
  #bringing = 0;
  #waiting = new Set<() => void>();
  #disposed = false;
  readonly #reads: WatchedReads;
  #profile: Profile | undefined;

  /** Memory for the slots of these plans, whose programs never run at once. */
  constructor(
    private readonly gpu: Gpu,
    private readonly weights: WeightStore,
    plans: readonly Plan[],
  ) {
    this.#reads = new WatchedReads(weights.provider);
    this.#reads.onRead = ({ label: name, ...span }) => this.#profile?.host.push({ kind: "read", name, ...span });
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
    try {
      for (const [i, bytes] of sharedSlots(plans).entries()) this.#buffers.push(gpu.buffer(`slots${i}`, bytes, usage));
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  buffer(index: number): GPUBuffer {
    return this.#buffers[index]!.buffer;
  }

  /** Begins to bring what the next run needs, which will be one of this plan. */
  expect(plan: Plan): void {
    if (this.#disposed || this.#coming || plan.slots.uploads.length === 0) return;
    this.#coming = this.#turn(plan, this.#current ? this.#current.base + this.#current.plan.steps.length : this.#submitted);
  }

  /** A run begins. @param profile is told of reads and waits */
  begin(plan: Plan, profile?: Profile): void {
    if (this.#current)
      throw new CogwheelError("graph", `programs that share slots run one after another, got ${plan.graph.name} beside another; await it`);
    this.#profile = profile;
    const coming = this.#coming;
    this.#coming = undefined;
    if (coming?.plan === plan && coming.error === undefined) this.#current = coming;
    else {
      if (coming) this.#cancel(coming);
      this.#current = this.#turn(plan, this.#submitted);
    }
  }

  /** Is there all that the run's steps up to this one read? */
  ready(step: number): boolean {
    return this.#current!.ready(step);
  }

  /** Resolves when it is; throws what kept it from coming. */
  async arrival(step: number, { signal, stallSeconds = STALL_SECONDS }: ArrivalOptions = {}): Promise<void> {
    const turn = this.#current!;
    if (turn.ready(step)) return;
    const begin = performance.now();
    const name = turn.plan.slots.uploads[turn.there]!.weight.names.join(" + ");
    try {
      while (!turn.ready(step)) {
        signal?.throwIfAborted();
        if (turn.error !== undefined) {
          this.gpu.assertAlive();
          throw turn.error;
        }
        const since = this.#reads.oldest;
        const left = 1000 * stallSeconds - (since ? performance.now() - since.begin : 0);
        if (since && left <= 0)
          throw new CogwheelError(
            "weights",
            `what ${turn.plan.graph.name} needs in its next step must come, got nothing for ${stallSeconds} s of ${since.label}; ` +
              "see to where it is stored, then go on from the last step",
          );
        await this.#news(signal, left);
      }
    } finally {
      this.#profile?.host.push({ kind: "wait", name, begin, end: performance.now(), bytes: 0 });
    }
  }

  /** All steps of the run before this one were submitted. */
  submitted(step: number): void {
    this.#submitted = this.#current!.base + step;
    this.#wake();
  }

  /** The run is over, or was given up. */
  end(): void {
    const turn = this.#current;
    if (!turn) return;
    this.#current = undefined;
    this.#submitted = turn.base + turn.plan.steps.length;
    if (turn.there < turn.plan.slots.uploads.length) {
      this.#cancel(turn);
      if (this.#coming) this.#cancel(this.#coming);
      this.#coming = undefined;
    }
    this.#wake();
  }

  /** Once a run is over: throws a Misfit where f16 does not hold some of what came for the first time. Its results are not to be used then. */
  async judge(signal?: AbortSignal): Promise<void> {
    const misfits = this.#loader ? await judged(this.#loader, this.#reads.provider, signal) : [];
    if (misfits.length) throw new Misfit(misfits);
  }

  #turn(plan: Plan, base: number): Turn {
    const turn = new Turn(plan, base);
    const before = this.#settled;
    this.#bringing++;
    this.#settled = before
      .then(() => this.#bring(turn))
      .catch((error: unknown) => turn.fail(error))
      .finally(() => {
        this.#bringing--;
        this.#wake();
      });
    return turn;
  }

  #cancel(turn: Turn): void {
    turn.controller.abort(new CogwheelError("graph", `a run was given up while weights came, got ${turn.plan.graph.name}; run it again`));
    this.#wake();
  }

  /** Resolves when all is there; rejects when nothing is under way any more. */
  async #bring(turn: Turn): Promise<void> {
    const { signal } = turn.controller;
    const underWay = new Set<Promise<void>>();
    try {
      for (const upload of turn.plan.slots.uploads) {
        signal.throwIfAborted();
        const { weight, buffer, offset, end, last } = upload;
        const same = [...this.#held].find((h) => h.key === weight.key && h.buffer === buffer && h.offset === offset);
        if (same) {
          [same.turn, same.last] = [turn, last];
          turn.arrived(upload);
          // The run may wait for this one, before what has to be submitted for the next can be.
          this.#wake();
          continue;
        }
        while (underWay.size >= AT_ONCE) await this.#news(signal);
        const overwritten = () => [...this.#held].filter((h) => overlap(h, upload));
        while (overwritten().some((h) => !this.#free(h))) await this.#news(signal);
        for (const h of overwritten()) this.#held.delete(h);
        const place: Held = { key: weight.key, buffer, offset, end, turn, last };
        this.#held.add(place);
        const load = this.#load(upload, turn)
          .then(() => turn.arrived(upload))
          .catch((error: unknown) => {
            this.#held.delete(place);
            turn.fail(error);
          })
          .finally(() => {
            underWay.delete(load);
            this.#wake();
          });
        underWay.add(load);
        this.#wake();
      }
    } finally {
      await Promise.all(underWay);
    }
  }

  /** Has all been submitted that reads it? */
  #free({ turn, last }: Held): boolean {
    return turn.controller.signal.aborted || turn.base + last < this.#submitted;
  }

  async #load(upload: Upload, turn: Turn): Promise<void> {
    const { signal } = turn.controller;
    const begin = performance.now();
    const { names, bytes, key } = upload.weight;
    await (turn.plan.asStored.has(key) ? this.#unpack(upload) : this.#read(upload, turn));
    signal.throwIfAborted();
    this.#profile?.host.push({ kind: "weight", name: names.join(" + "), begin, end: performance.now(), bytes });
  }

  /** From where it is stored on the device. */
  async #unpack({ weight, buffer, offset }: Upload): Promise<void> {
    const place = `${weight.key} ${buffer} ${offset}`;
    let prepared = this.#prepared.get(place);
    if (!prepared) {
      this.#unpacker ??= new Unpacker(this.gpu);
      prepared = await this.weights.blocks.prepare(this.#unpacker, weight, this.#buffers[buffer]!.buffer, offset);
      this.#prepared.set(place, prepared);
    }
    const encoder = this.gpu.device.createCommandEncoder({ label: "unpack" });
    for (const one of prepared) one.encode(encoder);
    this.gpu.device.queue.submit([encoder.finish()]);
  }

  /** From the provider. */
  async #read({ weight, buffer, offset }: Upload, { plan, controller: { signal } }: Turn): Promise<void> {
    this.#loader ??= new WeightLoader(
      this.gpu,
      this.#reads.provider,
      this.#buffers.reduce((n, { bytes }) => n + bytes, 0),
    );
    try {
      await this.#loader.load(weight, this.#buffers[buffer]!.buffer, signal, offset);
    } catch (error) {
      signal.throwIfAborted();
      this.gpu.assertAlive();
      throw new CogwheelError(
        "weights",
        `a streamed weight must come in every run of ${plan.graph.name}, got this for ${weight.names.join(" + ")}: ` +
          `${error instanceof Error ? error.message : String(error)}; see to where it is stored, then go on from the last step`,
        { cause: error },
      );
    }
  }

  /** Resolves when something has changed, or after so many milliseconds. */
  #news(signal?: AbortSignal, ms?: number): Promise<void> {
    return new Promise((resolve, reject) => {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const over = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(over);
        signal?.removeEventListener("abort", over);
        if (signal?.aborted) reject(signal.reason as Error);
        else resolve();
      };
      if (signal?.aborted) return over();
      if (ms !== undefined) timer = setTimeout(over, ms);
      this.#waiting.add(over);
      signal?.addEventListener("abort", over);
    });
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const turn of [this.#current, this.#coming]) if (turn) this.#cancel(turn);
    if (this.#bringing === 0) this.#destroy();
    // A read that is under way fills memory of the loader's, which goes when it is over.
    else void this.#settled.then(() => this.#destroy());
  }

  #destroy(): void {
    this.#loader?.[Symbol.dispose]();
    for (const one of [...this.#prepared.values()].flat()) one[Symbol.dispose]();
    this.#unpacker?.[Symbol.dispose]();
    for (const owned of this.#buffers) owned[Symbol.dispose]();
  }
}

/** Bytes of the slot buffers of programs that share them. */
export function sharedSlots(plans: readonly Plan[]): number[] {
  const count = Math.max(0, ...plans.map((p) => p.slots.buffers.length));
  return Array.from({ length: count }, (_, i) => Math.max(...plans.map((p) => p.slots.buffers[i] ?? 0)));
}
