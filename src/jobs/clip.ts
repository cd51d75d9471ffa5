/**
 * The VAE's work on one job by two workers: each has latent frames of the clip (`vae-time`) or rows of its pictures (`vae-space`), with the
 * bytes that one worker gives which computes it so. Who has the job's lease leads: it asks for a partner when the clip is there, says what
 * it plans, and gives the partner what goes into its part. What convolutions and norms read of the other's part goes through the queue.
 */
import { linkedAbort } from "../base/linked-abort.ts";
import { pause } from "../base/pause.ts";
import { bytesText } from "../base/units.ts";
import { spatialRatio, type VaeConfig } from "../models/vae/config.ts";
import { runClip, runPiece, type ClipRunner, type ClipTools } from "../models/vae/split/clip.ts";
import type { Peer } from "../models/vae/split/peer.ts";
import type { PieceRunOptions, WorkerReport } from "../models/vae/split/run.ts";
import { type Collect, type Share, shareOf, type SplitClip } from "../models/vae/split/share.ts";
import type { ClipPlanner } from "../pipelines/cogvideox/share.ts";
import { defined } from "../pipelines/options.ts";
import type { StageMemory } from "../pipelines/requirements.ts";
import { unitsOf } from "../models/vae/split/units.ts";
import type { JobBackend } from "./backend.ts";
import { ClipCuts, clipPlanner } from "./clip-cuts.ts";
import type { Job, JobRequest, SharedClip } from "./job.ts";
import { deletePair, PairEnded, partnerHint, type PartnerHold, partnerOf, type PairRecord, watchPartner, writePair } from "./partner.ts";
import { measureQueue, type QueueRates } from "./queue-rates.ts";
import type { Stored } from "./records.ts";
import { deleteExchange, StorePeer } from "./store-peer.ts";
import { keepUnevenness, readUnevenness } from "./unevenness.ts";
import { livingWorkers } from "./workers.ts";

const [LEADER, OTHER] = [0, 1] as const;
/** A partner must take the hint within so long, where there are other workers. */
const JOIN_MS = 3_000;
/**
 * What the other gives is waited for a lease, and so many times as long as the work has taken so far: a partner whose device hangs goes on
 * renewing its hold.
 */
const PATIENCE = 5;

/** The axis of a job's split, where it is one of the VAE. */
export const axisOf = ({ split }: Pick<JobRequest, "split">): SplitClip["axis"] | undefined =>
  split === "vae-time" ? "time" : split === "vae-space" ? "space" : undefined;

/** What two workers give each other for a clip. */
export interface ClipBytes {
  /** What convolutions read of the other's part, and records of norms, both ways. */
  readonly halo: number;
  readonly norm: number;
  /** What goes into and comes out of the partner's part. */
  readonly input: number;
  readonly output: number;
  /** How often one may have to wait for the other. */
  readonly turns: number;
}

export const bytesIn = ({ halo, norm, input, output }: ClipBytes): number => halo + norm + input + output;

/** How many workers there can be for a clip: latent frames, or rows of latents. */
const piecesIn = (config: VaeConfig, clip: SplitClip): number =>
  clip.axis === "time" ? unitsOf(config, clip.part, clip.frames).length : clip.height / (clip.part === "encode" ? spatialRatio(config) : 1);

/** What of a clip goes between two workers, by its graphs alone. */
export function clipBytes(config: VaeConfig, clip: SplitClip): ClipBytes {
  const share = shareOf(config, clip, 2);
  let [halo, norm, turns, output] = [0, 0, 0, 0];
  for (const worker of [LEADER, OTHER]) {
    const graphs = share.graphs(worker, { type: () => clip.dtype });
    for (const { graph, parts } of share.turns(worker)) {
      const { gives, takes, norms, graph: made } = graphs[graph]!;
      for (const { tensor, padded, channels } of gives) halo += (tensor.bytes / padded) * channels;
      for (const { own, holders } of norms) norm += own.bytes * (holders.length - 1);
      turns += takes.length + norms.length;
      if (worker === OTHER) for (const one of parts) output += made.outputs.get(one.output)!.bytes;
    }
  }
  return { halo, norm, turns, output, input: 4 * inputValues(share) };
}

/** Values that go into the partner's part. */
const inputValues = (share: Share): number => partsOf(share).reduce((n, { part }) => n + share.inputSize(OTHER, part), 0);
const partsOf = (share: Share): { readonly part: number }[] => share.turns(OTHER).flatMap(({ parts }) => parts);

/** What sharing a clip is planned to take. */
export interface ClipPlan extends ClipBytes {
  readonly part: "encode" | "decode";
  readonly exchangeSeconds: number;
  /** Seconds that a worker waits for the other for each that it works. */
  readonly uneven: number;
  /** Of the clip on one worker, where that is known, and on two. */
  readonly aloneSeconds: number | undefined;
  readonly seconds: number | undefined;
  /** Undefined where it is not known how long one takes. */
  readonly pays: boolean | undefined;
}

/**
 * @param aloneSeconds what one worker takes for the clip, where that is known
 * @param uneven seconds that a worker waits for the other for each that it works, as met before
 */
export function planClip(
  part: "encode" | "decode",
  bytes: ClipBytes,
  rates: QueueRates,
  { aloneSeconds, uneven = 0 }: { readonly aloneSeconds?: number; readonly uneven?: number } = {},
): ClipPlan {
  const exchangeSeconds = bytes.turns * rates.turnSeconds + bytesIn(bytes) / rates.bytesPerSecond;
  const seconds = aloneSeconds === undefined ? undefined : (aloneSeconds / 2) * (1 + uneven) + exchangeSeconds;
  const pays = seconds === undefined ? undefined : seconds < aloneSeconds!;
  return { ...bytes, part, exchangeSeconds, uneven, aloneSeconds, seconds, pays };
}

const batchesText = (count: number): string => `${count} frame batch${count > 1 ? "es" : ""}`;

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(bytes < 1e6 ? 2 : 1)} MB`;

/** A plan in words. */
export function clipPlanText(plan: ClipPlan): string {
  const { part, turns, exchangeSeconds, uneven, aloneSeconds, seconds, pays } = plan;
  const waits = uneven > 0 ? `, and wait ${(100 * uneven).toFixed(0)} % of their work for each other, as before` : "";
  const moved = `exchange ${megabytes(bytesIn(plan))} in ${turns} turns, ${exchangeSeconds.toFixed(2)} s${waits}`;
  if (seconds === undefined)
    return `to ${part} on two workers they ${moved}: that pays where one takes more than ${(2 * exchangeSeconds).toFixed(1)} s`;
  return (
    `to ${part} takes one worker about ${aloneSeconds!.toFixed(1)} s, two ${seconds.toFixed(1)} s: they ${moved}` +
    (pays ? "" : ": that does not pay")
  );
}

type Bytes = Uint8Array<ArrayBuffer>;

/** A part with its shape: a line of JSON, then the bytes. */
function withShape(shape: readonly number[], bytes: ArrayBuffer): Bytes {
  const line = new TextEncoder().encode(`${JSON.stringify(shape)}\n`);
  const out = new Uint8Array(line.length + bytes.byteLength);
  out.set(line);
  out.set(new Uint8Array(bytes), line.length);
  return out;
}

function shapeAndBytes(packed: Bytes): { shape: number[]; bytes: ArrayBuffer } {
  const end = packed.indexOf(10);
  return { shape: JSON.parse(new TextDecoder().decode(packed.subarray(0, end))) as number[], bytes: packed.slice(end + 1).buffer };
}

export interface ClipLeadOptions {
  /** The worker that leads. */
  readonly worker: string;
  readonly leaseMs: number;
  readonly signal: AbortSignal;
  readonly takes: (plan: ClipPlan) => boolean;
  readonly onNote: (message: string) => void;
  /** Seconds that one worker takes for a clip, where that can be known. */
  readonly aloneSeconds?: (part: "encode" | "decode") => number | undefined;
}

/** The leader's side: a runner of clips for the VAE of a generation. */
export class ClipLead implements ClipPlanner {
  readonly plan: ClipPlanner["plan"];
  #called = Number.NEGATIVE_INFINITY;
  #reports: SharedClip[] = [];
  /** As the last plan has it. */
  #exchangeSeconds = 0;

  constructor(
    private readonly backend: JobBackend,
    private readonly job: Pick<Job, "id" | "attempts" | "request">,
    readonly axis: SplitClip["axis"],
    private readonly options: ClipLeadOptions,
  ) {
    this.plan = clipPlanner(axis).plan;
  }

  /** What was shared so far. */
  get reports(): readonly SharedClip[] {
    return this.#reports;
  }

  /** Asks for a partner, so that one is there when the clip is. */
  async call(): Promise<void> {
    this.#called = performance.now();
    await this.backend.hints.push(partnerHint(this.job.id));
  }

  readonly runner =
    (tools: ClipTools, { peak, pieceBatches }: StageMemory): ClipRunner =>
    async (clip, data, options, collect) => {
      let given = 0;
      let skip = 0;
      const once: Collect = async (bytes, y) => {
        // What was given before the partner was lost is not given again.
        if (skip > 0) skip--;
        else {
          given++;
          await collect(bytes, y);
        }
      };
      const { signal, onNote } = this.options;
      const { id } = this.job;
      try {
        const found = await this.#partner(tools, clip, peak);
        if (found) return await this.#together(tools, found.clip, data, options, once, found.partner);
      } catch (error) {
        if (signal.aborted || !(error instanceof PairEnded)) throw error;
        onNote(`${id}: goes on without its partner: ${error.message}`);
      } finally {
        await deletePair(this.backend, this.job).catch(() => undefined);
      }
      skip = given;
      if (pieceBatches !== undefined)
        onNote(`${id}: ${clip.part}d in pieces of ${batchesText(pieceBatches)}, as that takes ${bytesText(peak, 1)}`);
      return await runClip(tools, 1, { ...clip, ...defined({ pieceBatches }) }, data, options, once);
    };

  /**
   * A partner that is ready, where sharing is planned to pay, and the clip cut so that both have room for their pieces.
   * @param peak what this worker takes alone, and may take with another
   */
  async #partner(tools: ClipTools, whole: SplitClip, peak: number): Promise<{ partner: Stored<PairRecord>; clip: SplitClip } | undefined> {
    const { config } = tools;
    const { signal, onNote, worker } = this.options;
    const { id, request } = this.job;
    const others = (await livingWorkers(this.backend.values)).filter(
      (one) => one.id !== worker && (one.stages ?? ["decode"]).includes("decode") && one.models.some(({ name }) => name === request.model),
    );
    if (others.length === 0) return undefined;
    if (piecesIn(config, whole) < 2) return undefined;
    const cuts = new ClipCuts(config, tools.gpu.caps);
    const { pieceBatches } = cuts.within(whole, 2, peak);
    const clip = { ...whole, ...defined({ pieceBatches }) };
    const rates = await measureQueue(this.backend);
    if (!(await this.#pays(config, clip, rates))) return undefined;
    if (performance.now() - this.#called > JOIN_MS) await this.call();
    const until = performance.now() + JOIN_MS;
    for (;;) {
      const partner = await partnerOf(this.backend, this.job);
      if (partner?.record.ready) {
        const { worker, roomBytes = peak } = partner.record;
        const least = cuts.within(whole, 2, Math.min(peak, roomBytes));
        if (least.peak > roomBytes) {
          onNote(`${id}: ${worker} has ${bytesText(roomBytes, 1)}, a piece takes ${bytesText(least.peak, 1)} at the least`);
          return undefined;
        }
        if (least.pieceBatches === pieceBatches) return { partner, clip };
        onNote(`${id}: ${worker} has ${bytesText(roomBytes, 1)}: in pieces of ${batchesText(least.pieceBatches!)}`);
        const cut = { ...whole, ...defined({ pieceBatches: least.pieceBatches }) };
        return (await this.#pays(config, cut, rates)) ? { partner, clip: cut } : undefined;
      }
      if (!partner && performance.now() > until) return undefined;
      await pause(20, signal);
    }
  }

  async #pays(config: VaeConfig, clip: SplitClip, rates: QueueRates): Promise<boolean> {
    const { takes, onNote, aloneSeconds } = this.options;
    const uneven = await readUnevenness(this.backend, `${clip.part} ${this.axis}`);
    const known = { uneven, ...defined({ aloneSeconds: aloneSeconds?.(clip.part) }) };
    const plan = planClip(clip.part, clipBytes(config, clip), rates, known);
    this.#exchangeSeconds = plan.exchangeSeconds;
    onNote(`${this.job.id}: ${clipPlanText(plan)}`);
    return takes(plan);
  }

  async #together(
    tools: ClipTools,
    clip: SplitClip,
    data: Float32Array,
    { signal: outer, ...options }: PieceRunOptions,
    collect: Collect,
    found: Stored<PairRecord>,
  ): Promise<readonly WorkerReport[]> {
    const { id } = this.job;
    const { leaseMs, onNote } = this.options;
    const share = shareOf(tools.config, clip, 2);
    const { record } = found;
    for (let now: Stored<PairRecord> | undefined = found; ; now = await partnerOf(this.backend, this.job)) {
      if (now?.record.worker !== record.worker) throw new PairEnded("it left");
      if ((await writePair(this.backend, id, { ...now.record, clip }, now.revision)) !== undefined) break;
    }
    onNote(`${id}: ${clip.part}d with ${record.worker}`);
    const began = performance.now();
    using alone = linkedAbort(outer, this.options.signal);
    const { signal } = alone;
    const watching = watchPartner(this.backend, id, record.worker, leaseMs, alone);
    try {
      await using peer = new StorePeer(this.backend, record.exchange, LEADER, 2, signal);
      const patient = patiently(peer, began, leaseMs, alone);
      const give = share.collector(collect);
      const input = new Float32Array(inputValues(share));
      let at = 0;
      for (const { part } of partsOf(share)) {
        input.set(share.input(OTHER, part, data), at);
        at += share.inputSize(OTHER, part);
      }
      await peer.put(OTHER, "input", new Uint8Array(input.buffer));
      let output = 0;
      const theirs = async (): Promise<WorkerReport> => {
        for (const { part } of partsOf(share)) {
          const { shape, bytes } = shapeAndBytes(await patient.get(OTHER, `part ${part}`, signal));
          output += bytes.byteLength;
          await give(OTHER, part, bytes, shape);
        }
        return JSON.parse(new TextDecoder().decode(await patient.get(OTHER, "report", signal))) as WorkerReport;
      };
      const mine = runPiece(
        tools,
        clip,
        patient,
        { input: (part) => share.input(LEADER, part, data), output: (part, bytes, shape) => give(LEADER, part, bytes, shape) },
        { ...options, signal },
      );
      const done = await Promise.allSettled(
        [mine, theirs()].map((work) =>
          work.catch((error: unknown) => {
            // One that fails leaves the other waiting.
            if (!signal.aborted) alone.abort(error);
            throw error;
          }),
        ),
      );
      // The first reason is the cause; the other's work was ended by it.
      if (signal.aborted) throw signal.reason;
      const reports = done.map((one) => (one as PromiseFulfilledResult<WorkerReport>).value);
      const moved = reports.reduce((n, { haloBytes, normBytes }) => n + haloBytes + normBytes, input.byteLength + output);
      const waitingSeconds = reports.reduce((n, one) => n + one.waitingSeconds, 0) / reports.length;
      const planned = bytesIn(clipBytes(tools.config, clip));
      const seconds = (performance.now() - began) / 1000;
      await keepUnevenness(this.backend, `${clip.part} ${this.axis}`, { seconds, waitingSeconds, exchangeSeconds: this.#exchangeSeconds });
      this.#reports.push({ part: clip.part, axis: clip.axis, bytes: moved, plannedBytes: planned, seconds, waitingSeconds });
      return reports;
    } finally {
      alone.abort(new PairEnded("the clip is over"));
      await watching;
      await deleteExchange(this.backend, record.exchange).catch(() => undefined);
    }
  }
}

/** A peer that ends the work where the other gives nothing for much longer than the work has taken. */
function patiently(peer: Peer, began: number, leastMs: number, alone: AbortController): Peer {
  return {
    index: peer.index,
    count: peer.count,
    put: (to, region, bytes) => peer.put(to, region, bytes),
    async get(from, region, signal) {
      const patience = leastMs + PATIENCE * (performance.now() - began);
      const late = setTimeout(() => alone.abort(new PairEnded(`nothing came for ${(patience / 1000).toFixed(0)} s`)), patience);
      try {
        return await peer.get(from, region, signal);
      } finally {
        clearTimeout(late);
      }
    },
  };
}

/**
 * The partner's side: computes its part of the clip that the leader says, and gives it back.
 * @param roomBytes what it may take, where that is known: the leader cuts the clip for it
 */
export async function followClip(backend: JobBackend, hold: PartnerHold, tools: ClipTools, roomBytes: number | undefined): Promise<void> {
  const { signal } = hold;
  await using peer = new StorePeer(backend, hold.exchange, OTHER, 2, signal);
  const clip = await hold.ready((record) => record.clip, defined({ roomBytes }));
  const share = shareOf(tools.config, clip, 2);
  const input = new Float32Array((await peer.get(LEADER, "input", signal)).slice().buffer);
  const places = new Map<number, number>();
  let at = 0;
  for (const { part } of partsOf(share)) {
    places.set(part, at);
    at += share.inputSize(OTHER, part);
  }
  const calls = {
    input: (part: number) => input.subarray(places.get(part)!, places.get(part)! + share.inputSize(OTHER, part)),
    output: (part: number, bytes: ArrayBuffer, shape: readonly number[]) => peer.put(LEADER, `part ${part}`, withShape(shape, bytes)),
  };
  const report = await runPiece(tools, clip, peer, calls, { signal });
  await peer.put(LEADER, "report", new TextEncoder().encode(JSON.stringify(report)));
  await hold.over();
}
