/** The work of `cogwheel queue`. */
import { existsSync } from "node:fs";
import { basename, extname } from "node:path";
import { CogwheelError } from "../base/errors.ts";
import { bytesText } from "../base/units.ts";
import { visible } from "../base/visible.ts";
import { keepAdapter } from "../jobs/adapters.ts";
import type { GenerationKind, Job, JobAdapter, JobRequest, JobSplit, SharedClip } from "../jobs/job.ts";
import { openJobs } from "../jobs/open-node.ts";
import { drawSeed, isJobId, isOver, JobStore } from "../jobs/store.ts";
import { STAGES } from "../jobs/stages.ts";
import { waitsFor } from "../jobs/waiting.ts";
import { livingWorkers } from "../jobs/workers.ts";
import { changesOf } from "../pipelines/cogvideox/adapters.ts";
import { checkOffered, readOffer } from "../pipelines/cogvideox/offer.ts";
import { loadLora } from "../pipelines/lora-file.ts";
import { defined, type GenerateOptions } from "../pipelines/options.ts";
import { nameOf } from "../pipelines/made-with.ts";
import { trainingRuns, type QueuedTraining } from "../ranks/runs.ts";
import { queuedTasks, type QueuedTasks } from "../tasks/lists.ts";
import { decodeVideo } from "../video/decode.ts";
import { checkOutputFile, readInput, writeWhole } from "./files.ts";
import { readFlags } from "./flags.ts";
import { EMBEDDED_MODEL } from "./package-root.ts";
import { modelName } from "./worker.ts";
import { interruptible } from "./terminal/interrupt.ts";
import { complain, print, printJson, printPath } from "./terminal/output.ts";
import { duration } from "./terminal/progress.ts";
import { table } from "./terminal/table.ts";

export interface QueueFlags {
  queue: string;
  json?: boolean;
}
export interface ListFlags extends QueueFlags {
  limit?: number;
}
export interface AddFlags extends QueueFlags {
  model?: string;
  split?: JobSplit;
  plan?: boolean;
  json?: boolean;
}

/** Ids of trainings begin so, and those of lists of tasks. */
const TRAINING = "train_";
const TASKS = "tasks_";
/** Characters of a prompt in a list. */
const SHOWN = 40;

/** A queue that must be there, for what only looks at one: a mistyped path would be an empty queue. */
async function withQueue<T>(flags: QueueFlags, use: (store: JobStore) => Promise<T>): Promise<T> {
  const { queue } = flags;
  if (!/^\w+:\/\//.test(queue) && !existsSync(queue))
    throw new CogwheelError("queue", `--queue must be where jobs are, got ${visible(queue)}, which is not there; correct it, or add a job`);
  return await withStore(flags, use);
}

async function withStore<T>({ queue }: QueueFlags, use: (store: JobStore) => Promise<T>): Promise<T> {
  await using backend = await openJobs(queue, complain);
  return await use(new JobStore(backend));
}

export async function addJob(prompt: string, flags: AddFlags): Promise<void> {
  const { given, files, own } = readFlags<AddFlags>(flags);
  const { width, height, frames, fps, steps, guidance, negative, seed, strength, samples = 1 } = given as Partial<GenerateOptions>;
  const path = files.image ?? files.video;
  if (files.image !== undefined && files.video !== undefined)
    throw new CogwheelError("queue", "a job begins from a picture or from a video, got --image and --video; leave one out");
  const kind: GenerationKind = files.image === undefined ? (files.video === undefined ? "text" : "video") : "image";
  const settings = defined({ width, height, frames, fps, steps, guidance, negativePrompt: negative, seed, strength });
  const local = localModel(own.model);
  // A checkpoint's folder stands for the name that workers call it by.
  const model = local === undefined ? own.model! : modelName(local);
  const request = { kind, model, prompt, ...settings, ...defined({ split: own.split }) };
  if (own.plan) return await printPlan(own, request);
  const input = typeof path === "string" ? await readInput(path) : undefined;
  const loras = await lorasOf(given.loras);
  if (local !== undefined) await checkAsked(local, { ...given, prompt }, kind, input, loras);
  await withStore(own, async (store) => {
    const adapters: JobAdapter[] = [];
    for (const { name, bytes, scale } of loras) adapters.push({ name, scale, blob: await keepAdapter(store.backend.blobs, bytes) });
    const whole = { ...request, ...(adapters.length ? { adapters } : {}) };
    // Samples of one prompt share their seed, and the noise that follows from it.
    const shared = samples > 1 ? { seed: seed ?? drawSeed() } : {};
    for (let index = 0; index < samples; index++) {
      const sample = samples > 1 ? { sample: { index, of: samples } } : {};
      print((await store.create({ request: { ...whole, ...shared, ...sample }, ...defined({ input }) })).id);
    }
  });
}

/** Where the configs of a model can be read without a download: the embedded one, or a folder. */
function localModel(name: string | undefined): string | undefined {
  if (name === undefined || name === nameOf(EMBEDDED_MODEL)) return EMBEDDED_MODEL;
  return existsSync(name) ? name : undefined;
}

/** An adapter as it is kept with jobs. */
interface AskedAdapter {
  readonly name: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly scale: number;
}

/** Reads the files of `--lora`. */
async function lorasOf(given: GenerateOptions["loras"] = []): Promise<readonly AskedAdapter[]> {
  const read: AskedAdapter[] = [];
  for (const { adapter, scale = 1 } of given) {
    const file = String(adapter);
    read.push({ name: basename(file, extname(file)), bytes: new Uint8Array(await readInput(file)), scale });
  }
  return read;
}

/** Refuses what the model cannot make, as `generate` does, before anything is queued. */
async function checkAsked(
  from: string,
  options: GenerateOptions,
  kind: GenerationKind,
  input: Uint8Array | undefined,
  loras: readonly AskedAdapter[],
): Promise<void> {
  const offer = await readOffer(from, { onWarning: complain });
  const { loras: _, samples: __, ...rest } = options;
  const most = rest.frames ?? offer.defaults.frames;
  const frames = input && (await decodeVideo(new Uint8Array(input), { maxFrames: kind === "image" ? 1 : most })).frames;
  checkOffered(offer, { ...rest, ...(frames ? (kind === "image" ? { image: frames[0]! } : { video: frames }) : {}) });
  for (const { name, bytes, scale } of loras) await changesOf(offer, [{ ...(await loadLora(bytes)), label: name, scale }]);
}

/** What two workers would give each other for a job, on this queue. */
async function printPlan(flags: AddFlags, request: Pick<JobRequest, "width" | "height" | "frames" | "guidance">): Promise<void> {
  const { planJob } = await import("./queue-plan.ts");
  await using backend = await openJobs(flags.queue, complain);
  const plans = await planJob(backend, flags.model ?? EMBEDDED_MODEL, request);
  if (flags.json) return printJson(plans);
  print(
    table(
      ["split", "of", "moved", "turns", "takes", "pays where one worker takes more than"],
      plans.splits.map(({ split, what, bytes, turns, exchangeSeconds, paysBeyondSeconds }) => [
        split,
        what,
        `${(bytes / 1e6).toFixed(bytes < 1e6 ? 2 : 1)} MB`,
        String(turns),
        `${exchangeSeconds.toFixed(2)} s`,
        `${paysBeyondSeconds.toFixed(2)} s`,
      ]),
    ),
  );
  print(
    `The queue moves ${(plans.bytesPerSecond / 1e6).toFixed(0)} MB/s, and a small value in ${(1000 * plans.turnSeconds).toFixed(1)} ms.`,
  );
}

export async function listJobs(flags: ListFlags): Promise<void> {
  await withQueue(flags, async (store) => {
    const { jobs, hasMore } = await store.list(defined({ limit: flags.limit }));
    const workers = await livingWorkers(store.backend.values);
    const trainings = await trainingRuns(store.backend.values);
    const tasks = await queuedTasks(store.backend.values);
    if (flags.json) return printJson({ jobs, hasMore, trainings, tasks, workers });
    if (jobs.length)
      print(
        table(
          ["job", "status", "progress", "left", "made", "prompt"],
          jobs.map((job) => [
            job.id,
            statusOf(job),
            progressOf(job),
            leftOf(job),
            madeAt(job),
            visible(job.request.prompt).slice(0, SHOWN),
          ]),
        ),
      );
    if (trainings.length)
      print(
        table(
          ["training", "status", "micro-steps", "model", "kept at"],
          trainings.map((run) => [TRAINING + run.id, trainingStatus(run), microsText(run), run.model, run.at ?? ""]),
        ),
      );
    if (tasks.length)
      print(
        table(
          ["tasks", "what", "status", "done", "model", "kept at"],
          tasks.map((list) =>
            [TASKS + list.id, TASK_WORDS[list.kind], tasksStatus(list), tasksText(list), list.model, list.at ?? ""].map(visible),
          ),
        ),
      );
    print(`${jobs.length ? "" : "No jobs; "}${count(workers.length, "worker")}${hasMore ? "; more jobs: --limit" : ""}`);
    for (const { id, models, adapter, stages = STAGES, limitBytes } of workers) {
      const some = stages.length < STAGES.length ? ` (${stages.join(", ")})` : "";
      const within = limitBytes === undefined ? "" : ` within ${bytesText(limitBytes, 1)}`;
      const named = models.map(({ name, seconds }) => name + (seconds === undefined ? "" : ` (a video in about ${duration(seconds)})`));
      print(visible(`  ${id}: ${named.join(", ") || "no model"} on ${adapter}${within}${some}`));
    }
  });
}

export async function showJob(id: string, flags: QueueFlags & { out?: string }): Promise<void> {
  const { out } = flags;
  if (out !== undefined) await checkOutputFile(out, "--out");
  await withQueue(flags, async (store) => {
    if (id.startsWith(TRAINING)) return await showTraining(store, id, flags);
    if (id.startsWith(TASKS)) return await showTasks(store, id, flags);
    const job = await jobBy(store, id);
    if (out !== undefined) {
      const bytes = job.output && (await store.backend.blobs.get(job.output.blob));
      if (!bytes)
        throw new CogwheelError(
          "queue",
          `a job's video is there when it is completed, got ${job.id}, which is ${statusOf(job)}` +
            `${job.error ? `: ${visible(job.error.message)}` : ""}; ${isOver(job) ? "add it anew" : "watch it"}`,
        );
      await writeWhole(out, bytes, "--out");
    }
    const waiting = waitsFor(job, await livingWorkers(store.backend.values));
    if (flags.json) return printJson({ ...job, ...(waiting ? { waitsFor: waiting.what } : {}) });
    const { request, attempts, lease, error, output } = job;
    printRows(job.id, [
      ["status", `${statusOf(job)} ${progressOf(job)} ${leftOf(job)}`.trim()],
      ["prompt", visible(request.prompt)],
      ["model", `${request.model}, ${request.kind}, seed ${request.seed}`],
      ["made", `${madeAt(job)}, begun ${attempts} times`],
      ...(waiting ? [["waits", visible(`for ${waiting.what}`)] as [string, string]] : []),
      ...(lease ? [["worker", lease.worker] as [string, string]] : []),
      ...(job.shared ? [["shared", sharedText(job.shared)] as [string, string]] : []),
      ...(job.sharedClips ?? []).map((one): [string, string] => ["shared", clipText(one)]),
      ...(error ? [["error", visible(error.message)] as [string, string]] : []),
      ...(output ? [["video", `${output.bytes} bytes, SHA-256 ${output.digest}`] as [string, string]] : []),
    ]);
    if (out !== undefined) printPath(out);
  });
}

async function showTraining(store: JobStore, id: string, { json, out }: QueueFlags & { out?: string }): Promise<void> {
  const run = oneBy(id, TRAINING, await trainingRuns(store.backend.values), { one: "training", out });
  if (json) return printJson(run);
  printRows(TRAINING + run.id, [
    ["status", trainingStatus(run)],
    ["micros", microsText(run)],
    ["model", `${visible(run.model)}, trains ${run.trains}`],
    ...(run.at === undefined ? [] : [["kept at", visible(run.at)] as const]),
    ...run.computing.map((worker) => ["worker", visible(worker)] as const),
    ...(run.failure === undefined ? [] : [["failure", visible(run.failure)] as const]),
  ]);
}

async function showTasks(store: JobStore, id: string, { json, out }: QueueFlags & { out?: string }): Promise<void> {
  const list = oneBy(id, TASKS, await queuedTasks(store.backend.values), { one: "list of tasks", out });
  if (json) return printJson(list);
  printRows(TASKS + list.id, [
    ["what", TASK_WORDS[list.kind]],
    ["status", tasksStatus(list)],
    ["done", `${tasksText(list)}, ${list.waiting} wait`],
    ["model", visible(list.model)],
    ...(list.at === undefined ? [] : [["kept at", visible(list.at)] as const]),
    ...list.doing.map((worker) => ["worker", visible(worker)] as const),
    ...(list.failure === undefined ? [] : [["failure", visible(list.failure)] as const]),
  ]);
}

/** The one whose id begins so. */
function oneBy<T extends { readonly id: string }>(
  id: string,
  prefix: string,
  all: readonly T[],
  { one, out }: { one: string; out: string | undefined },
): T {
  if (out !== undefined)
    throw new CogwheelError("queue", `--out must go with a job that makes a video, got ${id}; what a ${one} makes is where it is kept`);
  const found = all.filter((run) => (prefix + run.id).startsWith(id));
  if (found.length === 1) return found[0]!;
  throw new CogwheelError(
    "queue",
    `an id must be that of one ${one}, got ${JSON.stringify(id)}, of ${found.length || "none"}; \`cogwheel queue list\` names them`,
  );
}

function printRows(title: string, rows: readonly (readonly [name: string, value: string])[]): void {
  print(title);
  for (const [name, value] of rows) print(`  ${name.padEnd(8)}${value}`);
}

export async function cancelJob(id: string, flags: QueueFlags): Promise<void> {
  await withQueue(flags, async (store) => {
    const job = await jobBy(store, id);
    const after = await store.cancel(job.id);
    if (after?.error?.code === "cancelled") return print(`${job.id} is cancelled`);
    throw new CogwheelError(
      "queue",
      `a job is cancelled before it is over, got ${job.id}, which is ${after ? statusOf(after) : "deleted"}`,
    );
  });
}

export async function watchJobs(id: string | undefined, flags: QueueFlags): Promise<number> {
  using interruption = interruptible(() => undefined);
  const { signal } = interruption;
  return await withQueue(flags, async (store) => {
    const tell = (job: Job): void =>
      flags.json ? print(JSON.stringify(job)) : print(`${job.id} ${statusOf(job)} ${progressOf(job)} ${leftOf(job)}`.trimEnd());
    if (id === undefined) {
      for await (const [, job] of store.watch(signal)) if (job) tell(job);
      return 0;
    }
    const { id: whole } = await jobBy(store, id);
    for await (const job of store.follow(whole, signal)) {
      if (job) tell(job);
      if (job && isOver(job)) return job.status === "completed" ? 0 : 1;
    }
    return signal.aborted ? 0 : 1;
  });
}

/** A job by its id, or by its beginning. */
async function jobBy(store: JobStore, id: string): Promise<Job> {
  const ids = isJobId(id) ? [id] : (await store.ids()).filter((one) => one.startsWith(id) || one.startsWith(`video_${id}`));
  const job = ids.length === 1 ? await store.get(ids[0]!) : undefined;
  if (job) return job;
  throw new CogwheelError(
    "queue",
    `an id must be that of one job, got ${JSON.stringify(id)}, of ${ids.length > 1 ? ids.length : "none"}; ` +
      "`cogwheel queue list` names them",
  );
}

const trainingStatus = ({ led, step, steps }: QueuedTraining): string =>
  `${led ? "under way" : "without its leader"}${step === undefined ? "" : `, step ${step}${steps === undefined ? "" : ` of ${steps}`}`}`;
const microsText = ({ computed, computing, waiting }: QueuedTraining): string =>
  `${computed} of ${computed + computing.length + waiting} computed, ${computing.length} by workers now`;

const TASK_WORDS: Readonly<Record<QueuedTasks["kind"], string>> = { encode: "encode clips, captions", caption: "caption clips" };
const tasksStatus = ({ asked }: QueuedTasks): string => (asked ? "under way" : "without its asker");
const tasksText = ({ done, all, doing }: QueuedTasks): string => `${done} of ${all}, ${doing.length} by workers now`;

const sharedText = ({ steps, bytes, seconds, waitingSeconds }: NonNullable<Job["shared"]>): string =>
  `${count(steps, "step")} by two workers, ${(bytes / 1e6).toFixed(1)} MB exchanged, ` +
  `${((100 * waitingSeconds) / seconds).toFixed(0)} % of their time`;

const clipText = ({ part, axis, bytes, plannedBytes, seconds, waitingSeconds }: SharedClip): string =>
  `${part}d by two workers in ${axis}, ${(bytes / 1e6).toFixed(1)} MB moved (${(plannedBytes / 1e6).toFixed(1)} planned), ` +
  `${((100 * waitingSeconds) / seconds).toFixed(0)} % of their time`;

const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? "" : "s"}`;
const statusOf = ({ status, error }: Job): string => (error ? `${status} (${error.code})` : status);
const progressOf = ({ status, step, steps, progress }: Job): string =>
  status === "in_progress" && steps ? `${progress} %, step ${step} of ${steps}` : status === "completed" ? "100 %" : "";
const leftOf = ({ secondsLeft }: Job): string => (secondsLeft === undefined ? "" : `about ${duration(secondsLeft)} left`);
const madeAt = ({ createdAt }: Job): string => new Date(createdAt).toISOString().slice(0, 16).replace("T", " ");
