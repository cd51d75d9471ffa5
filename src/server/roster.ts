/** The workers as the server last heard of them: whether any could serve what is asked for, and what a job waits for. */
import { pause } from "../base/pause.ts";
import type { KeyValues } from "../jobs/backend.ts";
import type { Job } from "../jobs/job.ts";
import { askForRoom, sizeKey, type JobSize } from "../jobs/room.ts";
import { STAGES } from "../jobs/stages.ts";
import { waitsFor } from "../jobs/waiting.ts";
import { isLiving, livingWorkers, workerOf, WORKERS, type WorkerRecord } from "../jobs/workers.ts";
import { ApiError } from "./errors.ts";

/** Workers have so long to say whether there is room; one that does not may have it. */
const ANSWER_MS = 2_000;
/** Workers that are named in an error. */
const NAMED = 4;
/** Who did not answer is not asked about this size again for so long. */
const SILENT_MS = 60_000;

export class Roster implements AsyncDisposable {
  readonly #records = new Map<string, WorkerRecord>();
  /** When workers were last asked about a size. */
  readonly #asked = new Map<string, number>();
  readonly #ended = new AbortController();
  #watching: Promise<void> | undefined;

  private constructor(private readonly values: KeyValues) {}

  static async open(values: KeyValues): Promise<Roster> {
    const roster = new Roster(values);
    roster.#watching = roster.#watch();
    // The watch must stand before the records are read.
    await pause(50);
    for (const record of await livingWorkers(values)) roster.#records.set(record.id, record);
    return roster;
  }

  async #watch(): Promise<void> {
    const { signal } = this.#ended;
    while (!signal.aborted)
      try {
        for await (const { key } of this.values.watch(WORKERS, signal)) await this.#read(key.slice(WORKERS.length));
      } catch {
        // The store is not there for a moment, or the server ends.
        await pause(1000, signal).catch(() => undefined);
      }
  }

  async #read(id: string): Promise<void> {
    const record = await workerOf(this.values, id).catch(() => undefined);
    if (record) this.#records.set(id, record);
    else this.#records.delete(id);
  }

  get living(): readonly WorkerRecord[] {
    const now = Date.now();
    for (const [id, record] of this.#records) if (!isLiving(record, now)) this.#records.delete(id);
    return [...this.#records.values()];
  }

  /** What a job waits for that no worker takes; null of any other. */
  waitsFor(job: Job): string | null {
    return waitsFor(job, this.living)?.what ?? null;
  }

  /** Throws for what none of the workers that are there has memory for. Where none is there, one may come that has. */
  async expectRoom(request: JobSize): Promise<void> {
    const { model, width, height, frames } = request;
    const size = sizeKey(request);
    const serving = this.living.filter(({ models }) => models.some(({ name }) => name === model));
    const lately = Date.now() - (this.#asked.get(size) ?? Number.NEGATIVE_INFINITY) < SILENT_MS;
    if (this.#asked.size > 1000) this.#asked.clear();
    const workers = lately ? serving : await askForRoom(this.values, serving, request, ANSWER_MS);
    if (!lately && serving.length > 0) this.#asked.set(size, Date.now());
    const whyNot = ({ room }: WorkerRecord): string | undefined => room?.[size] ?? undefined;
    const doing = STAGES.map((stage) => workers.filter(({ stages = STAGES }) => stages.includes(stage)));
    const cramped = doing.find((those) => those.length > 0 && those.every((worker) => whyNot(worker) !== undefined));
    if (!cramped) return;
    const named = cramped.slice(0, NAMED).map((worker) => `${worker.id} ${whyNot(worker)}`);
    throw new ApiError(
      400,
      "no_worker_has_room",
      `a video must fit the memory of a worker, got ${width} × ${height} and ${frames} frames of ${model}: ` +
        `${named.join(", ")}${cramped.length > NAMED ? ` and ${cramped.length - NAMED} more` : ""}; ask for a smaller size or fewer frames`,
      { param: "size" },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort();
    await this.#watching;
  }
}
