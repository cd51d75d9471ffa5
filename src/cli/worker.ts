/** The work of `cogwheel worker`. */
import { hostname } from "node:os";
import { listAdapters } from "#platform";
import { CogwheelError } from "../base/errors.ts";
import { hex } from "../base/hex.ts";
import { openJobs } from "../jobs/open-node.ts";
import { OwnAdapter } from "../jobs/own-adapter-node.ts";
import { COMPONENTS, STAGES, type JobStage } from "../jobs/stages.ts";
import { JobStore } from "../jobs/store.ts";
import { Tracing } from "../jobs/tracing.ts";
import type { WorkerModel } from "../jobs/other-work.ts";
import { work } from "../jobs/worker.ts";
import { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import { nameOf } from "../pipelines/made-with.ts";
import { defined } from "../pipelines/options.ts";
import { readSession } from "../platform/choose.ts";
import { RankWork } from "../ranks/work.ts";
import { CaptionDoer } from "../tasks/caption-work.ts";
import { EncodeDoer } from "../tasks/encode-work.ts";
import { TaskWork } from "../tasks/work.ts";
import type { ModelDeviceFlags } from "./flags.ts";
import { keyFrom } from "./data/endpoints.ts";
import { engineVersion } from "./engine-version.ts";
import { EMBEDDED_MODEL } from "./package-root.ts";
import { interruptible } from "./terminal/interrupt.ts";
import { complain } from "./terminal/output.ts";

export interface WorkerFlags extends ModelDeviceFlags {
  queue: string;
  model?: readonly string[];
  variant?: string;
  keep?: boolean;
  lease?: number;
  memory?: number;
  untilInputEnds?: boolean;
  stages?: readonly JobStage[];
  captionUrl?: string;
  captionModel?: string;
  captionConcurrency?: number;
}

/** Works until a signal; resolves to the exit code: 0, as a worker has no other end. */
export async function runWorker({
  queue,
  model,
  lease,
  memory,
  keep = true,
  untilInputEnds,
  stages = STAGES,
  captionUrl,
  captionModel,
  captionConcurrency,
  ...flags
}: WorkerFlags): Promise<number> {
  if (lease !== undefined && !(lease >= 1 && lease <= 3600))
    throw new CogwheelError("worker", `--lease must be from 1 to 3600 seconds, got ${lease}; 30 is the default`);
  const { adapter, dtype, variant } = flags;
  const captions = captionDoer({ captionUrl, captionModel, captionConcurrency });
  // Who captions needs no adapter.
  const folders = model ?? (captions ? [] : [EMBEDDED_MODEL]);
  const names = folders.map(modelName);
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined)
    throw new CogwheelError("worker", `models must have names of their own, got two called ${twice}; start two workers`);
  using interruption = interruptible(complain);
  const signal = untilInputEnds ? AbortSignal.any([interruption.signal, endOfInput()]) : interruption.signal;
  await using backend = await openJobs(queue, complain);
  const id = workerId();
  await using own = new OwnAdapter(backend.values, id);
  const chosen = adapter ?? (folders.length ? await freeGpu(own) : undefined);
  const models = folders.map(
    (folder): WorkerModel => ({
      name: modelName(folder),
      async open(keep) {
        const opened = await CogVideoX.open(folder, {
          ...defined({ adapter: chosen, dtype, variant, memoryBytes: memory }),
          weightsOf: stages.map((stage) => COMPONENTS[stage]),
          keep,
          onWarning: complain,
        });
        await own.has({ name: opened.gpu.name, kind: opened.gpu.caps.kind });
        return opened;
      },
      ...(dtype === "q8" || dtype === "q4" ? { stored: dtype } : {}),
    }),
  );
  const version = engineVersion();
  const leaseMs = lease ? { leaseMs: 1000 * lease } : {};
  using ranks = new RankWork(backend, { id, version, onNote: complain, ...leaseMs, ...defined({ memoryBytes: memory }) });
  await using tasks = new TaskWork(backend, { id, version, onNote: complain, ...leaseMs }, [
    new EncodeDoer(),
    ...(captions ? [captions] : []),
  ]);
  const does = stages.length < STAGES.length ? `does ${stages.join(" and ")} of` : "takes";
  const what = [
    ...(names.length ? [`${does} jobs for ${names.join(", ")}`] : []),
    ...(captions ? [`captions by ${captions.address}`] : []),
  ];
  complain(`Worker ${id} ${what.join(" and ")} from ${backend.name}`);
  await work(
    new JobStore(backend),
    {
      id,
      models,
      version,
      keep,
      others: [ranks, tasks],
      stages,
      onNote: complain,
      ...leaseMs,
      ...defined({ memoryBytes: memory, tracing: await Tracing.load(version, complain) }),
    },
    signal,
  );
  return 0;
}

/** The GPU for a worker that was told of no adapter: one that no other worker of the queue has. Undefined: this machine's default. */
async function freeGpu(own: OwnAdapter): Promise<string | undefined> {
  const best = readSession()?.best;
  if (process.env["COGWHEEL_ADAPTER"] || best?.kind !== "hardware") return undefined;
  const found = await own.choose(await listAdapters());
  if (!found) return undefined;
  const { name, others } = found;
  if (others.length > 0)
    complain(`Every GPU of this machine has a worker of this queue: this one shares ${name} with ${others.join(", ")}; --adapter chooses`);
  else if (name !== best.name) complain(`Takes ${name}, as other workers of this queue have the GPUs before it; --adapter chooses`);
  return name === best.name ? undefined : name;
}

/** Who sends requests for captions on; undefined where no server is named. */
function captionDoer({
  captionUrl: url,
  captionModel: model,
  captionConcurrency: concurrency,
}: Pick<WorkerFlags, "captionUrl" | "captionModel" | "captionConcurrency">): CaptionDoer | undefined {
  if (url !== undefined) return new CaptionDoer({ url, ...defined({ model, concurrency, key: keyFrom(undefined) }) });
  const [name] =
    Object.entries({ "--caption-model": model, "--caption-concurrency": concurrency }).find(([, value]) => value !== undefined) ?? [];
  if (name !== undefined)
    throw new CogwheelError("worker", `${name} must go with a server, got no --caption-url; name one, or leave it out`);
  return undefined;
}

/** Aborts when whoever started this process is gone, by whatever end: nobody has the other end of the input then. */
function endOfInput(): AbortSignal {
  const ended = new AbortController();
  process.stdin.on("close", () => ended.abort(new Error("the process that started this worker is gone")));
  process.stdin.on("error", () => undefined);
  process.stdin.resume();
  return ended.signal;
}

/** What requests call a model: the last part of its folder, address or id. */
export const modelName = (folder: string): string => nameOf(folder).replace(/@.*$/, "");

/** Of this process, in words that may be part of a key. */
const workerId = (): string => {
  const random = hex(crypto.getRandomValues(new Uint8Array(3)));
  return `${
    hostname()
      .replace(/[^A-Za-z0-9-]+/g, "-")
      .slice(0, 60) || "host"
  }-${process.pid}-${random}`;
};
