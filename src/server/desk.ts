/** What all ways of asking have in common: bodies are read, jobs are found, and made once. */
import type { JobBackend } from "../jobs/backend.ts";
import type { AskedPrediction, Job } from "../jobs/job.ts";
import { isOver, newJobId, type JobStore } from "../jobs/store.ts";
import { defined } from "../pipelines/options.ts";
import { Admission } from "./access.ts";
import type { JobBoard, Posted } from "./board.ts";
import { collect, fieldsOf } from "./body.ts";
import { ApiError, invalid, noSuchVideo } from "./errors.ts";
import { claim, fingerprintOf } from "./idempotency.ts";
import type { Key } from "./keys.ts";
import type { AskedVideo } from "./request.ts";
import type { Roster } from "./roster.ts";
import type { Asking } from "./router.ts";
import { Slots } from "./slots.ts";

export interface DeskOptions {
  readonly backend: JobBackend;
  readonly store: JobStore;
  readonly board: JobBoard;
  readonly roster: Roster;
  /** Bytes of a body at most. */
  readonly maxUpload: number;
  /** Jobs that may wait or be worked on. */
  readonly maxJobs: number;
  /** Throws where a webhook's address cannot be one. */
  readonly checkWebhook: (address: string) => void;
}

export interface Making {
  readonly fields: Readonly<Record<string, unknown>>;
  readonly webhook: string | undefined;
  /** Of what is asked for as Replicate's clients do. */
  readonly prediction?: AskedPrediction;
  /** What the job is to make; may take a while, as inputs are read. */
  readonly ask: () => Promise<{ readonly asked: AskedVideo; readonly input?: Uint8Array; readonly remixedFrom?: string }>;
}

/** Bodies of more bytes are read a few at a time, as each is held in memory. */
const LARGE = 1 << 20;

export class Desk {
  readonly #admission: Admission;
  readonly #bodies = new Slots(8, 64);

  constructor(private readonly options: DeskOptions) {
    this.#admission = new Admission(options.board, options.maxJobs);
  }

  /** The fields of a request's body. */
  async bodyOf(request: Request): Promise<Record<string, unknown>> {
    const length = Number(request.headers.get("content-length") ?? Number.NaN);
    using _ = length <= LARGE ? undefined : await this.#bodies.take();
    return await fieldsOf(await collect(request, this.options.maxUpload), request.headers.get("content-type") ?? "");
  }

  /** A job of this key. Of another's the same is said as of none. */
  async ownJob(id: string, key: Key): Promise<Job> {
    const job = await this.options.store.get(id);
    if (!job || job.owner !== key.digest) throw noSuchVideo(id);
    return job;
  }

  /**
   * A job of this key without a look into the store: what the board has is as new as its watch. What it has not another server may have
   * made just now.
   */
  async posted(id: string, key: Key): Promise<Posted> {
    const posted = this.options.board.get(id);
    return posted?.job.owner === key.digest ? posted : await this.now((await this.ownJob(id, key)).id);
  }

  /** Brings the board up to the store, so that who asks next finds what it did. */
  async refresh(id: string): Promise<Posted | undefined> {
    const { store, board } = this.options;
    const posted = await store.read(id);
    if (posted) board.post(posted);
    else board.remove(id);
    return board.get(id);
  }

  async now(id: string): Promise<Posted> {
    const posted = await this.refresh(id);
    if (!posted) throw noSuchVideo(id);
    return posted;
  }

  /** A job when it is over, or as it is after so long, or when nobody waits any more. */
  async settled(id: string, ms: number, signal: AbortSignal): Promise<Posted> {
    const { board } = this.options;
    await new Promise<void>((resolve) => {
      const over = (): boolean => isOver(board.get(id)?.job ?? { status: "failed" });
      const end = (): void => {
        clearTimeout(timer);
        listening[Symbol.dispose]();
        signal.removeEventListener("abort", end);
        resolve();
      };
      const timer = setTimeout(end, ms);
      const listening = board.listen(id, () => {
        if (over()) end();
      });
      signal.addEventListener("abort", end, { once: true });
      if (over() || signal.aborted) end();
    });
    return await this.now(id);
  }

  /** Makes a job, or finds the one that the request made before. */
  async make({ c, request, key, trace }: Asking, { fields, webhook, prediction, ask }: Making): Promise<Posted> {
    const { backend, store, roster, checkWebhook } = this.options;
    if (webhook !== undefined) checkWebhook(webhook);
    const id = newJobId();
    const idempotencyKey = request.headers.get("idempotency-key") ?? undefined;
    const fingerprint = idempotencyKey === undefined ? undefined : await fingerprintOf(c.req.path, fields);
    const claimed = idempotencyKey === undefined ? undefined : await claim(backend.values, key.digest, idempotencyKey, fingerprint!, id);
    if (claimed && "before" in claimed) return await this.now(claimed.before);
    try {
      const { asked, input, remixedFrom } = await ask();
      await roster.expectRoom(asked);
      await this.#admission.admit(key, { request: asked }, async () => {
        await store.create({
          id,
          owner: key.digest,
          request: asked,
          ...defined({ input, remixedFrom, idempotencyKey, fingerprint, webhook, prediction, trace: trace?.context }),
        });
        await this.refresh(id);
      });
      trace?.set({ "cogwheel.job.id": id });
    } catch (error) {
      // What was refused may be sent again with the same key.
      if (claimed && "release" in claimed) await claimed.release();
      throw error;
    }
    return await this.now(id);
  }

  /** The bytes of a video that a call begins with, and the job that made it where it is one of ours. */
  async videoOfFields(video: Uint8Array | { id: string }, key: Key): Promise<{ input: Uint8Array<ArrayBuffer>; from?: Job }> {
    if (video instanceof Uint8Array) return { input: new Uint8Array(video) };
    const from = await this.ownJob(video.id, key);
    if (from.status !== "completed" || !from.output)
      throw invalid(`video must be one that is completed, got ${from.id}, which is ${from.status}; wait for it`, "video");
    const input = await this.options.backend.blobs.get(from.output.blob);
    if (!input)
      throw new ApiError(410, "video_expired", `video must be one that is still kept, got ${from.id}, which was removed`, {
        param: "video",
      });
    return { input: new Uint8Array(input), from };
  }
}
