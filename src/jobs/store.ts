/**
 * Jobs in a backend: made, read, listed, changed by compare-and-set, cancelled, deleted, and swept. Servers and workers share no more than
 * this: whoever changes a job reads it, and writes it back where nobody else has since.
 */
import { CogwheelError } from "../base/errors.ts";
import { hex } from "../base/hex.ts";
import { parseJsonObject } from "../base/json-scan.ts";
import { linkedAbort } from "../base/linked-abort.ts";
import { pause } from "../base/pause.ts";
import type { Entry, JobBackend, Sync } from "./backend.ts";
import { deletePair } from "./partner.ts";
import type { TraceContext } from "./tracing.ts";
import {
  embedsBlob,
  inputBlob,
  jobKey,
  outputBlob,
  stateBlob,
  type AskedPrediction,
  type JobRequest,
  type Job,
  type JobError,
} from "./job.ts";

/** What a job is made of. */
export interface NewJob {
  /** Default: one that `newJobId` makes. */
  readonly id?: string;
  /** The seed is drawn where none is asked for. */
  readonly request: Omit<JobRequest, "seed" | "input"> & { readonly seed?: number };
  readonly owner?: string;
  /** The picture or video that it begins from, as it was uploaded. */
  readonly input?: Uint8Array;
  readonly remixedFrom?: string;
  readonly idempotencyKey?: string;
  readonly fingerprint?: string;
  readonly webhook?: string;
  readonly prediction?: AskedPrediction;
  readonly trace?: TraceContext;
}

export interface ListOptions {
  /** Jobs of this owner alone. Default: of all. */
  readonly owner?: string;
  /** The id after which the list begins. */
  readonly after?: string;
  /** Default 20. */
  readonly limit?: number;
  /** By age; default `desc`, the newest first. */
  readonly order?: "asc" | "desc";
}

export interface JobList {
  readonly jobs: readonly Job[];
  readonly hasMore: boolean;
}

export interface JobStoreOptions {
  /** Jobs that are over are deleted, with what came out, after so long. Default: 7 days. */
  readonly keepMs?: number;
}

const PREFIX = "job.";
const DAY_MS = 24 * 3600e3;
const ID = /^video_[0-9a-f]{32}$/;
/** A job that somebody follows is looked at so often, whatever a watch tells. */
const LOOK_MS = 2_000;
/** Jobs that are read at a time. */
const AT_ONCE = 16;

/** `video_`, 12 digits of the time in milliseconds, 20 random ones. */
export function newJobId(now = Date.now()): string {
  const random = crypto.getRandomValues(new Uint8Array(10));
  return `video_${now.toString(16).padStart(12, "0")}${hex(random)}`;
}

export const drawSeed = (): number => crypto.getRandomValues(new Uint32Array(1))[0]!;

/** Whether a text can be a job's id: what comes from a stranger is looked at before it becomes part of a key. */
export const isJobId = (text: string): boolean => ID.test(text);

export const isOver = ({ status }: Pick<Job, "status">): boolean => status === "completed" || status === "failed";

/** How a job is left that ends without a result. */
export const failedJob = (job: Job, error: JobError, now = Date.now()): Job => {
  const { lease: _, secondsLeft: __, ...rest } = job;
  return { ...rest, status: "failed", error, completedAt: now };
};

/** A job with the revision that it was read at. */
export interface StoredJob {
  readonly job: Job;
  readonly revision: number;
}

export class JobStore {
  constructor(
    readonly backend: JobBackend,
    private readonly options: JobStoreOptions = {},
  ) {}

  /** Keeps a job, and hints at it. Once this resolves, the job is done or failed some day, whoever is killed. */
  async create(made: NewJob): Promise<Job> {
    const { id = newJobId(), request, owner = "", input, ...more } = made;
    checkId(id);
    const seed = request.seed ?? drawSeed();
    // What it begins from is there before the job is: who sees the job may read it.
    if (input) await this.backend.blobs.put(inputBlob(id), input);
    const job: Job = {
      id,
      owner,
      request: { ...request, seed, ...(input ? { input: inputBlob(id) } : {}) },
      status: "queued",
      step: 0,
      steps: 0,
      progress: 0,
      createdAt: Date.now(),
      attempts: 0,
      ...more,
    };
    if ((await this.backend.values.put(jobKey(id), bytesOf(job), 0)) === undefined)
      throw new CogwheelError("jobs", `a job's id must be new, got ${id}, which is there; make another`);
    await this.backend.hints.push(id);
    return job;
  }

  async get(id: string): Promise<Job | undefined> {
    return (await this.read(id))?.job;
  }

  /** The job with its revision, which `replace` compares. */
  async read(id: string): Promise<StoredJob | undefined> {
    if (!isJobId(id)) return undefined;
    const entry = await this.backend.values.get(jobKey(id));
    return entry && { job: jobOf(id, entry), revision: entry.revision };
  }

  /** All ids, by age. */
  async ids(): Promise<string[]> {
    return (await this.backend.values.keys(PREFIX)).map((key) => key.slice(PREFIX.length));
  }

  async list({ owner, after, limit = 20, order = "desc" }: ListOptions = {}): Promise<JobList> {
    const ids = await this.ids();
    if (order === "desc") ids.reverse();
    // Ids sort by age, so that a list goes on where it was although the job that it ended with was deleted.
    const rest = after === undefined ? ids : ids.filter((id) => (order === "desc" ? id < after : id > after));
    const jobs: Job[] = [];
    for (let at = 0; at < rest.length && jobs.length <= limit; at += AT_ONCE) {
      const read = await this.#readable(rest.slice(at, at + AT_ONCE));
      jobs.push(...read.filter((job) => owner === undefined || job.owner === owner));
    }
    return { jobs: jobs.slice(0, limit), hasMore: jobs.length > limit };
  }

  /**
   * Changes a job, however many others do so: `change` is called with the job as it is, again where another was faster, and gives what is
   * to be, or undefined to leave it. Resolves to the job as it is then; undefined where there is none.
   */
  async update(id: string, change: (job: Job) => Job | undefined): Promise<Job | undefined> {
    for (;;) {
      const found = await this.read(id);
      if (!found) return undefined;
      const next = change(found.job);
      if (next === undefined) return found.job;
      if ((await this.replace(next, found.revision)) !== undefined) return next;
    }
  }

  /** Writes a job that was read at `revision`; the new revision, or undefined where another was faster. @param sync as of `put` */
  async replace(job: Job, revision: number, sync?: Sync): Promise<number | undefined> {
    return await this.backend.values.put(jobKey(job.id), bytesOf(job), revision, sync);
  }

  /** Ends a job that is not over as `failed` with the code `cancelled`; whoever works on it stops. */
  async cancel(id: string): Promise<Job | undefined> {
    return await this.update(id, (job) =>
      isOver(job) ? undefined : failedJob(job, { code: "cancelled", message: "The job was cancelled." }),
    );
  }

  /** Deletes a job with all that belongs to it; one that is worked on is cancelled so. True where it was there. */
  async delete(id: string): Promise<boolean> {
    for (;;) {
      const entry = isJobId(id) ? await this.backend.values.get(jobKey(id)) : undefined;
      if (!entry) return false;
      if (!(await this.backend.values.delete(jobKey(id), entry.revision))) continue;
      await this.deleteBlobs(
        id,
        readable(() => jobOf(id, entry)),
      );
      return true;
    }
  }

  /** Deletes the blobs of a job that is no more. */
  async deleteBlobs(id: string, job?: Job): Promise<void> {
    const names = [
      embedsBlob(id),
      stateBlob(id),
      inputBlob(id),
      ...(["video", "thumbnail", "spritesheet", "preview"] as const).map((what) => outputBlob(id, what)),
      ...(job?.output ? [job.output.blob] : []),
    ];
    await Promise.all(names.map((name) => this.backend.blobs.delete(name)));
    await deletePair(this.backend, { id, attempts: Number.POSITIVE_INFINITY });
  }

  /** When a job that is over will be deleted, in milliseconds since 1970. */
  expiresAt({ completedAt }: Pick<Job, "completedAt">): number | undefined {
    return completedAt === undefined ? undefined : completedAt + (this.options.keepMs ?? 7 * DAY_MS);
  }

  /**
   * What hints forget is found here: jobs without a result whom nobody works on are hinted at again, and old ones are deleted. To be called
   * now and then by every worker and server; that several do so does no harm.
   */
  async sweep(): Promise<{ hinted: number; deleted: number }> {
    let [hinted, deleted] = [0, 0];
    // By the store's clock: one of this machine that is days ahead must not delete what is young.
    const now = await this.backend.now();
    const keys = await this.backend.values.keys(PREFIX);
    for (let at = 0; at < keys.length; at += AT_ONCE)
      await Promise.all(
        (await this.#readable(keys.slice(at, at + AT_ONCE).map((key) => key.slice(PREFIX.length)))).map(async (job) => {
          if ((this.expiresAt(job) ?? Number.POSITIVE_INFINITY) <= now) deleted += Number(await this.delete(job.id));
          else if (!isOver(job) && (job.lease?.until ?? 0) <= now) {
            await this.backend.hints.push(job.id, { lost: job.lease !== undefined });
            hinted++;
          }
        }),
      );
    return { hinted, deleted };
  }

  /** Jobs by id, without those that are no more or cannot be read: these keep no others from being listed and worked on. */
  async #readable(ids: readonly string[]): Promise<Job[]> {
    const entries = await Promise.all(ids.map(async (id) => [id, await this.backend.values.get(jobKey(id))] as const));
    return entries.flatMap(([id, entry]) => (entry && readable(() => jobOf(id, entry))) ?? []);
  }

  /** Jobs as they change, from now on; undefined for one that was deleted. */
  async *watch(signal: AbortSignal, prefix = ""): AsyncGenerator<readonly [id: string, job: Job | undefined], void> {
    for await (const { key, entry } of this.backend.values.watch(PREFIX + prefix, signal)) {
      const id = key.slice(PREFIX.length);
      yield [id, entry && readable(() => jobOf(id, entry))];
    }
  }

  /** A job as it is, then as it changes, until it is over or deleted (undefined): that is the last. */
  async *follow(id: string, signal: AbortSignal): AsyncGenerator<Job | undefined, void> {
    using ended = linkedAbort(signal);
    try {
      // A watch that breaks, as its server is away, is begun anew.
      const watch = () => {
        const changes = this.backend.values.watch(jobKey(id), ended.signal)[Symbol.asyncIterator]();
        return () => changes.next().catch(() => "broken" as const);
      };
      let change = watch();
      let next = change();
      let found = await this.read(id);
      for (let told = -1; !ended.signal.aborted; ) {
        if ((found?.revision ?? 0) !== told) yield found?.job;
        if (!found || isOver(found.job)) return;
        told = found.revision;
        using look = linkedAbort(ended.signal);
        const changed = await Promise.race([next, pause(LOOK_MS, look.signal).catch(() => undefined)]);
        look.abort();
        if (changed === "broken") {
          await pause(LOOK_MS, ended.signal).catch(() => undefined);
          change = watch();
        } else if (changed?.done) return;
        if (changed) next = change();
        // A watch may tell late, and may miss what came before it had begun or while a server was away.
        const entry = changed && changed !== "broken" ? changed.value.entry : undefined;
        if (!entry) found = await this.read(id);
        else if (entry.revision > told) found = { job: jobOf(id, entry), revision: entry.revision };
      }
    } finally {
      ended.abort();
    }
  }
}

function checkId(id: string): void {
  if (!isJobId(id)) throw new CogwheelError("jobs", `a job's id must be video_ and 32 hexadecimal digits, got ${JSON.stringify(id)}`);
}

/** What is read, or undefined where it is damaged. */
function readable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof CogwheelError) return undefined;
    throw error;
  }
}

const bytesOf = (job: Job): Uint8Array => new TextEncoder().encode(JSON.stringify(job));

/** Written by this program or by another version of it: of what is read here, what must be there is looked at. */
function jobOf(id: string, { value }: Entry): Job {
  const fail = (rule: string): CogwheelError => new CogwheelError("jobs", `the stored job ${id} ${rule}; delete it`);
  const json = parseJsonObject(new TextDecoder().decode(value), fail);
  if (json["id"] !== id || typeof json["status"] !== "string" || typeof json["request"] !== "object")
    throw fail(`must have its id, a status and a request, got ${Object.keys(json).join(", ")}`);
  return json as unknown as Job;
}
