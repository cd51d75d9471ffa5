/**
 * Two workers on the steps of one job, each with a branch of guidance. The one that has the job's lease leads: it hints that a partner is
 * wanted, takes one in between two steps where that pays, and goes on alone when none is heard of any more. Who joins it computes the other
 * branch from the same state to the same next one, so that either could go on. They exchange one prediction each way a step.
 */
import { linkedAbort } from "../base/linked-abort.ts";
import type { Branch, Partner } from "../models/cogvideox/branches.ts";
import type { DenoiseState } from "../models/cogvideox/model.ts";
import type { JobBackend } from "./backend.ts";
import type { Job, SharedSteps } from "./job.ts";
import { deletePair, PairEnded, partnerHint, type PartnerHold, partnerOf, watchPartner, writePair } from "./partner.ts";
import { measureQueue } from "./queue-rates.ts";
import { deleteExchange, StorePeer } from "./store-peer.ts";
import { keepUnevenness, readUnevenness } from "./unevenness.ts";

/** What sharing the steps is planned to take. */
export interface PairPlan {
  /** Each way a step. */
  readonly bytes: number;
  /** Of a step alone, of an exchange, of waiting for who is slower, of a step together. */
  readonly aloneSeconds: number;
  readonly exchangeSeconds: number;
  readonly unevenSeconds: number;
  readonly seconds: number;
  readonly waitingShare: number;
  readonly pays: boolean;
}

/**
 * @param exchangeSeconds to give a prediction of so many bytes and take another, as measured
 * @param uneven seconds that a worker waits for the other for each that it works, as met before
 */
export function planPair(bytes: number, aloneSeconds: number, exchangeSeconds: number, uneven = 0): PairPlan {
  const unevenSeconds = (aloneSeconds / 2) * uneven;
  const waitingSeconds = exchangeSeconds + unevenSeconds;
  const seconds = aloneSeconds / 2 + waitingSeconds;
  return {
    ...{ bytes, aloneSeconds, exchangeSeconds, unevenSeconds, seconds },
    ...{ waitingShare: waitingSeconds / seconds, pays: seconds < aloneSeconds },
  };
}

const [LEADER, OTHER] = [1, 0] as const satisfies readonly Branch[];
/** A hint that nobody followed is given again after so long. */
const HINT_MS = 5_000;

const bytesOf = (values: Float32Array): Uint8Array<ArrayBuffer> => new Uint8Array(values.slice().buffer);
const floatsOf = (bytes: Uint8Array): Float32Array => new Float32Array(bytes.slice().buffer);

/**
 * Once a branch is computed here, the other one is waited for so many times as long, and some seconds: a partner whose device hangs goes on
 * renewing its hold.
 */
const PATIENCE = 5;
const MOST_PATIENCE_MS = 10_000;

/** The leader's side. */
export class PairLead implements Partner, AsyncDisposable {
  #peer: StorePeer | undefined;
  #joined: string | undefined;
  #began = performance.now();
  #hinted = Number.NEGATIVE_INFINITY;
  /** Seconds of the last step alone; of an exchange as measured. */
  #alone: number | undefined;
  #exchange: number | undefined;
  #refused = false;
  #report: SharedSteps = { steps: 0, bytes: 0, seconds: 0, waitingSeconds: 0 };

  constructor(
    private readonly backend: JobBackend,
    private readonly job: Pick<Job, "id" | "attempts">,
    private readonly leaseMs: number,
    private readonly signal: AbortSignal,
    private readonly takes: (plan: PairPlan) => boolean,
    private readonly onNote: (message: string) => void,
  ) {}

  get report(): SharedSteps | undefined {
    return this.#report.steps > 0 ? this.#report : undefined;
  }

  async branch(step: number, { latents }: DenoiseState): Promise<Branch | undefined> {
    const now = performance.now();
    // The first step of a run also warms up: it is no measure.
    if (step > 0 && this.#joined === undefined) this.#alone = (now - this.#began) / 1000;
    this.#began = now;
    if (this.#joined === undefined && !this.#refused) await this.#find(step, latents.byteLength);
    return this.#joined === undefined ? undefined : LEADER;
  }

  async #find(step: number, bytes: number): Promise<void> {
    const { id } = this.job;
    const there = await partnerOf(this.backend, this.job);
    if (!there) {
      if (performance.now() - this.#hinted < HINT_MS) return;
      this.#hinted = performance.now();
      return await this.backend.hints.push(partnerHint(id));
    }
    if (!there.record.ready || step === 0 || this.#alone === undefined) return;
    this.#exchange ??= await this.#measure(bytes);
    const plan = planPair(bytes, this.#alone, this.#exchange, await readUnevenness(this.backend, "steps"));
    this.onNote(`${id}: ${planText(plan)}`);
    if (!this.takes(plan)) {
      this.#refused = true;
      return await deletePair(this.backend, this.job);
    }
    if ((await writePair(this.backend, id, { ...there.record, from: step }, there.revision)) === undefined) return;
    this.#joined = there.record.worker;
    this.#peer = new StorePeer(this.backend, there.record.exchange, LEADER, 2, this.signal);
    this.#began = performance.now();
    this.onNote(`${id}: from step ${step + 1} on with ${this.#joined}`);
  }

  /** Seconds that a prediction takes into the store and out of it. */
  async #measure(bytes: number): Promise<number> {
    const { turnSeconds, bytesPerSecond } = await measureQueue(this.backend, bytes);
    return turnSeconds + bytes / bytesPerSecond;
  }

  async exchange(step: number, own: Float32Array): Promise<Float32Array | undefined> {
    const { id } = this.job;
    const began = performance.now();
    using alone = linkedAbort(this.signal);
    const watching = watchPartner(this.backend, id, this.#joined!, this.leaseMs, alone);
    const patience = Math.min(MOST_PATIENCE_MS, 2 * this.leaseMs) + PATIENCE * (began - this.#began);
    const late = setTimeout(() => alone.abort(new PairEnded(`nothing came for ${(patience / 1000).toFixed(0)} s`)), patience);
    try {
      const region = String(step);
      await this.#peer!.put(OTHER, region, bytesOf(own));
      const theirs = floatsOf(await this.#peer!.get(OTHER, region, alone.signal));
      if (theirs.length !== own.length) throw new PairEnded(`a prediction has ${own.length} values, got ${theirs.length}`);
      const now = performance.now();
      const { steps, bytes, seconds, waitingSeconds } = this.#report;
      this.#report = {
        steps: steps + 1,
        bytes: bytes + own.byteLength + theirs.byteLength,
        seconds: seconds + (now - this.#began) / 1000,
        waitingSeconds: waitingSeconds + (now - began) / 1000,
      };
      return theirs;
    } catch (error) {
      if (this.signal.aborted) throw error;
      this.onNote(`${id}: step ${step + 1} without ${this.#joined}: ${(error as Error).message}`);
      this.#joined = undefined;
      this.#hinted = Number.NEGATIVE_INFINITY;
      await this.#leave();
      await deletePair(this.backend, this.job);
      return undefined;
    } finally {
      clearTimeout(late);
      alone.abort(new PairEnded("the exchange is over"));
      await watching;
    }
  }

  async #leave(): Promise<void> {
    const peer = this.#peer;
    this.#peer = undefined;
    if (!peer) return;
    await peer[Symbol.asyncDispose]();
    await deleteExchange(this.backend, peer.name).catch(() => undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { steps, seconds, waitingSeconds } = this.#report;
    const exchangeSeconds = steps * (this.#exchange ?? 0);
    if (steps > 0) await keepUnevenness(this.backend, "steps", { seconds, waitingSeconds, exchangeSeconds });
    await this.#leave();
  }
}

/** The partner's side, while it has its hold. */
export class PairFollow implements Partner, AsyncDisposable {
  #peer: StorePeer | undefined;

  /** @param stateAt the job's state after so many steps, once it is saved */
  constructor(
    private readonly backend: JobBackend,
    private readonly hold: PartnerHold,
    private readonly stateAt: (step: number, signal: AbortSignal) => Promise<DenoiseState>,
  ) {}

  async join(): Promise<DenoiseState> {
    const { signal, exchange } = this.hold;
    this.#peer = new StorePeer(this.backend, exchange, OTHER, 2, signal);
    return await this.stateAt(await this.hold.ready(({ from }) => from), signal);
  }

  async branch(): Promise<Branch> {
    return OTHER;
  }

  async exchange(step: number, own: Float32Array): Promise<Float32Array> {
    await this.#peer!.put(LEADER, String(step), bytesOf(own));
    return floatsOf(await this.#peer!.get(LEADER, String(step), this.hold.signal));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#peer?.[Symbol.asyncDispose]();
  }
}

const megabytes = (bytes: number): string => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

/** A plan in words. */
export const planText = ({ bytes, aloneSeconds, exchangeSeconds, unevenSeconds, seconds, waitingShare, pays }: PairPlan): string =>
  `a step alone takes ${aloneSeconds.toFixed(2)} s; its branches on two workers ${seconds.toFixed(2)} s, ` +
  `${(exchangeSeconds + unevenSeconds).toFixed(3)} s of them (${(100 * waitingShare).toFixed(0)} %) ` +
  `to exchange ${megabytes(bytes)} each way` +
  `${unevenSeconds > 0 ? ` and to wait for who is slower, ${unevenSeconds.toFixed(3)} s as before` : ""}, ` +
  `${megabytes((2 * bytes) / Math.max(exchangeSeconds, 1e-9))}/s${pays ? "" : ": that does not pay"}`;
