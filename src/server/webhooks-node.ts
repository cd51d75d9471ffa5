/**
 * Tells of ended jobs, to the address that a job was made with, by Standard Webhooks. What was delivered is kept with the jobs: after a
 * restart the rest is delivered, and never what was. Whoever answers too late may hear of a job twice, with the same `webhook-id`.
 */
import { pause } from "../base/pause.ts";
import type { JobBackend } from "../jobs/backend.ts";
import type { AskedPrediction, Job } from "../jobs/job.ts";
import { readRecord, writeRecord } from "../jobs/records.ts";
import { isOver } from "../jobs/store.ts";
import type { JobBoard } from "./board.ts";
import type { Keys } from "./keys.ts";
import { predictionOf, type PredictionAnswer } from "./prediction.ts";
import { readTokens } from "./read-token.ts";
import { sendWebhook } from "./send-webhook-node.ts";

/** Seconds between tries; then it is given up. */
const WAITS = [1, 5, 30, 120, 600, 3600, 3 * 3600, 10 * 3600];
const PREFIX = "webhook.";
/** When the queue could not say what was delivered, it is asked again after so long. */
const LATER_MS = 30_000;
/** Deliveries at a time. */
const AT_A_TIME = 8;
/** Of what is told between, which may be left out. */
const AT_A_TIME_BETWEEN = 64;
/** Between two of one job, as at Replicate. */
const BETWEEN_MS = 500;

export interface WebhookOptions {
  readonly backend: JobBackend;
  readonly board: JobBoard;
  readonly keys: Keys;
  /** May addresses of this machine and its networks be called? */
  readonly allowPrivate: boolean;
  readonly onWarning: (message: string) => void;
}

interface Delivery {
  readonly tries: number;
  readonly at: number;
  readonly done?: "delivered" | "given up";
}

export class Webhooks implements AsyncDisposable {
  readonly #ended = new AbortController();
  readonly #due: string[] = [];
  readonly #known = new Set<string>();
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #running = new Set<Promise<void>>();
  /** Jobs whose webhook is being told of a step. */
  readonly #telling = new Map<string, Promise<void>>();
  readonly #listening: Disposable;

  constructor(private readonly options: WebhookOptions) {
    const { board } = options;
    this.#listening = board.listen(undefined, (now, before) => {
      if (!now) return;
      this.#progress(now.job, before);
      this.#hear(now.job);
    });
    for (const job of board.jobs()) this.#hear(job);
  }

  /** Forgets what was delivered of jobs that are gone. */
  async forget(): Promise<void> {
    const { backend, board } = this.options;
    for (const key of await backend.values.keys(PREFIX)) {
      if (board.get(key.slice(PREFIX.length))) continue;
      const entry = await backend.values.get(key);
      if (entry) await backend.values.delete(key, entry.revision);
    }
  }

  #hear(job: Job): void {
    if (job.webhook === undefined || !isOver(job) || this.#known.has(job.id)) return;
    const events = job.prediction?.events;
    // What came out is there when all is over: who asks for both is told once.
    if (events && !events.includes("completed") && !(events.includes("output") && job.status === "completed")) return;
    this.#known.add(job.id);
    this.#soon(job.id, 0);
  }

  #soon(id: string, ms: number): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#due.push(id);
      this.#next();
    }, ms);
    this.#timers.add(timer);
  }

  #next(): void {
    while (this.#running.size < AT_A_TIME && this.#due.length > 0 && !this.#ended.signal.aborted) {
      const id = this.#due.shift()!;
      const running = this.#deliver(id)
        .catch((error: unknown) => {
          this.options.onWarning(`[serve] a webhook could not be looked after: ${(error as Error).message}`);
          if (!this.#ended.signal.aborted) this.#soon(id, LATER_MS);
        })
        .finally(() => {
          this.#running.delete(running);
          this.#next();
        });
      this.#running.add(running);
    }
  }

  async #deliver(id: string): Promise<void> {
    const { backend, board, keys, onWarning } = this.options;
    const job = board.get(id)?.job;
    const key = PREFIX + id;
    const found = await readRecord<Delivery>(backend.values, key);
    const before: Delivery = found?.record ?? { tries: 0, at: 0 };
    if (!job?.webhook || before.done) return;
    // From before a restart.
    if (before.at > Date.now()) return this.#soon(id, before.at - Date.now());
    const keep = async (now: Delivery): Promise<void> => void (await writeRecord(backend.values, key, now, found?.revision ?? 0));
    const secret = (await keys.ofOwner(job.owner))?.webhookSecret;
    if (secret === undefined) return await keep({ ...before, done: "given up" });
    // What it hears of the steps comes before.
    await this.#telling.get(id);
    const tries = before.tries + 1;
    const answer = await this.#send(job, job.webhook, secret).catch((error: unknown) => (error as Error).message);
    if (typeof answer === "number" && answer >= 200 && answer < 300) return await keep({ tries, at: Date.now(), done: "delivered" });
    if (this.#ended.signal.aborted) return;
    const wait = answer === 410 ? undefined : WAITS[tries - 1];
    const host = new URL(job.webhook).host;
    if (wait === undefined) {
      onWarning(`[serve] the webhook of ${id} at ${host} was given up after ${tries} tries: ${answer}`);
      return await keep({ tries, at: Date.now(), done: "given up" });
    }
    // Some of the wait is by chance, so that many do not come at once.
    const at = Date.now() + wait * 1000 * (0.9 + 0.2 * Math.random());
    await keep({ tries, at });
    this.#soon(id, at - Date.now());
  }

  /** @returns the status that was answered */
  async #send(job: Job, address: string, secret: string): Promise<number> {
    const id = `evt_${job.id}`;
    const body = job.prediction
      ? await this.#prediction(job, job.prediction, secret)
      : {
          id,
          object: "event",
          type: `video.${job.status}`,
          created_at: Math.floor((job.completedAt ?? Date.now()) / 1000),
          data: { id: job.id },
        };
    return await this.#post(id, address, secret, body);
  }

  async #prediction(job: Job, { base }: AskedPrediction, secret: string): Promise<PredictionAnswer> {
    return predictionOf(job, { base, token: job.owner === "" ? undefined : await (await readTokens(secret))(job.id) });
  }

  #post(id: string, address: string, secret: string, body: unknown): Promise<number> {
    const { allowPrivate } = this.options;
    return sendWebhook({ id, address, secret, body: JSON.stringify(body), allowPrivate, signal: this.#ended.signal });
  }

  /**
   * What a prediction's webhook hears before the end: that the work has begun, and each step, at most twice a second. As at Replicate these
   * are sent once: the end, which is tried again, says all.
   */
  #progress(job: Job, before: Job | undefined): void {
    const { webhook, prediction } = job;
    if (webhook === undefined || !prediction || job.status !== "in_progress" || !before || this.#telling.has(job.id)) return;
    const starts = before.status !== "in_progress";
    const steps = job.step > before.step;
    const what = starts && prediction.events.includes("start") ? "start" : steps && prediction.events.includes("logs") ? "logs" : undefined;
    if (what === undefined || this.#telling.size >= AT_A_TIME_BETWEEN) return;
    const telling = (async () => {
      const secret = (await this.options.keys.ofOwner(job.owner))?.webhookSecret;
      if (secret === undefined) return;
      const id = `evt_${job.id}_${what === "start" ? `start_${job.attempts}` : `step_${job.step}`}`;
      await Promise.all([
        this.#post(id, webhook, secret, await this.#prediction(job, prediction, secret)),
        pause(BETWEEN_MS, this.#ended.signal),
      ]);
    })()
      .catch(() => undefined)
      .finally(() => this.#telling.delete(job.id));
    this.#telling.set(job.id, telling);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listening[Symbol.dispose]();
    this.#ended.abort();
    for (const timer of this.#timers) clearTimeout(timer);
    await Promise.all([...this.#running, ...this.#telling.values()]);
  }
}
