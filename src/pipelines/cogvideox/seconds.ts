/** How long each stage of a generation will take, from rates that were measured: nothing is loaded. */
import type { MeasuredRates } from "../../gpu/rates.ts";
import { frameBatches, LATENT_BATCH, SAMPLE_BATCH } from "../../models/vae/batches.ts";
import { tileAxes } from "../../models/vae/reference-tiling.ts";
import type { Plan } from "../../plan/compile.ts";
import type { WeightRequest } from "../../plan/weight-request.ts";
import { Clock } from "../../plan/seconds.ts";
import type { StageMemory } from "../requirements.ts";
import { exactSections } from "../vae-requirements.ts";
import type { Model } from "./model.ts";
import type { Stage } from "./stage-names.ts";
import type { PlannedStage, Stages, StageSizes } from "./stages.ts";

/** How long a stage takes. */
export interface StageTime {
  readonly stage: PlannedStage["stage"];
  /** What progress and `video.seconds` call its two parts. */
  readonly names: readonly [load: Stage, work: Stage];
  /** Seconds until its weights are there; undefined where nobody knows how fast they come. */
  readonly loadSeconds?: number;
  /** Seconds of loading besides, where no stage before has made its pipelines: the first time in a process. */
  readonly pipelineSeconds: number;
  /** Seconds of its work, all runs together: the transformer's steps, the decoder's batches of frames. */
  readonly workSeconds: number;
  /** Seconds of work besides, where no stage before has run its kernels: the first time in a process. */
  readonly firstRunSeconds: number;
  /** Of weights that come and go in each run: bytes a second that must come for the work not to wait. */
  readonly neededBytesPerSecond?: number;
  /** The same: bytes a second that do come. */
  readonly suppliedBytesPerSecond?: number;
}

/** A run of a plan, and how often it is done. */
interface Runs {
  readonly plan: Plan;
  readonly times: number;
}

/** What progress and `video.seconds` call the two parts of a stage: loading and work. */
export const STAGE_NAMES: Readonly<Record<PlannedStage["stage"], readonly [load: Stage, work: Stage]>> = {
  "text encoder": ["load text encoder", "encode prompt"],
  encoder: ["load encoder", "encode frames"],
  transformer: ["load transformer", "denoise"],
  decoder: ["load decoder", "decode"],
};

/** @param steps that are run @param samples videos that are made together */
export function stageTimes(
  model: Pick<Model, "configs" | "dtype" | "gpu">,
  { tiling, stages }: Stages,
  sizes: StageSizes,
  { steps, samples }: { steps: number; samples: number },
  rates: MeasuredRates,
): StageTime[] {
  const clock = new Clock(rates);
  const unpackSeconds = rates.pipelineSeconds + rates.firstRunSeconds;
  const seen = new Set<string>();
  const unpacking = new Set<string>();
  const software = model.gpu.caps.kind === "software";
  return stages.map((stage): StageTime => {
    const { weights, streamed } = stage.memory;
    const rate = rates.loading[stage.part];
    const runs = runsOf(model, stage, sizes, tiling, { steps, samples });
    const before = unpacking.size;
    const kept = new Set<string>();
    let [work, compute, times, binding, bringing, making, running] = [0, 0, 0, 0, 0, 0, 0];
    for (const { plan, times: often } of runs) {
      for (const { label } of plan.steps) {
        if (seen.has(label)) continue;
        seen.add(label);
        const first = rates.first[label] ?? rates;
        making += first.pipelineSeconds;
        running += first.firstRunSeconds;
      }
      for (const request of requestsOf(plan)) unpacking.add(kindOf(request));
      for (const key of [...plan.weights.keys(), ...plan.asStored.keys()]) kept.add(key);
      binding += plan.steps.length * rates.bindSeconds;
      const once = clock.seconds(plan);
      // What is brought in a run is no load of its own: the streamer's buffers are there.
      const brought = rate ? plan.streamed.size * rate.weightSeconds + streamed / rate.bytesPerSecond : 0;
      // A CPU adapter computes on the cores that read and unpack; a GPU computes meanwhile.
      work += often * (software ? once + brought : Math.max(once, brought));
      compute += often * once;
      bringing += often * brought;
      times += often;
    }
    // The rows of a prompt's words are a load of one weight, of a kind of its own.
    const words = stage.stage === "text encoder" ? rate : undefined;
    return {
      stage: stage.stage,
      names: STAGE_NAMES[stage.stage],
      ...(rate ? { loadSeconds: rate.fixedSeconds + kept.size * rate.weightSeconds + weights / rate.bytesPerSecond + binding } : {}),
      // What unpacks weights is made and run while they come.
      pipelineSeconds: making + (unpacking.size - before) * unpackSeconds,
      workSeconds: work + (words ? words.fixedSeconds + words.weightSeconds : 0),
      firstRunSeconds: running + (words ? unpackSeconds : 0),
      ...(streamed ? { neededBytesPerSecond: (streamed * times) / compute } : {}),
      ...(bringing ? { suppliedBytesPerSecond: (streamed * times) / bringing } : {}),
    };
  });
}

/** A stage in all. Without its loading, where nobody knows how fast weights come. */
export const stageSeconds = (time: StageTime): number => loadingSeconds(time) + workingSeconds(time);

/** Its two parts, the first time in a process. */
export const loadingSeconds = ({ loadSeconds = 0, pipelineSeconds }: StageTime): number => loadSeconds + pipelineSeconds;
export const workingSeconds = ({ workSeconds, firstRunSeconds }: StageTime): number => workSeconds + firstRunSeconds;

/** What stages will take with their seconds, where those are known. @param times of the same stages */
export const withSeconds = (stages: StageMemory[], times: readonly StageTime[] | undefined): StageMemory[] =>
  times ? stages.map((stage, i) => ({ ...stage, seconds: stageSeconds(times[i]!) })) : stages;

const requestsOf = ({ weights, streamed, asStored }: Plan): WeightRequest[] => [
  ...[...weights, ...streamed].map(([, request]) => request),
  ...[...asStored].map(([, { weight }]) => weight),
];

/** Weights of a kind are unpacked by the same pipeline, as far as they are stored alike. */
const kindOf = ({ packing, dtype, shape }: WeightRequest): string => [packing, dtype, shape.length].join();

function runsOf(
  { configs, dtype, gpu: { caps } }: Pick<Model, "configs" | "dtype" | "gpu">,
  stage: PlannedStage,
  { denoise, encodedFrames, decodedLatents }: StageSizes,
  tiling: Stages["tiling"],
  { steps, samples }: { steps: number; samples: number },
): Runs[] {
  if (stage.part !== "vae") return stage.plans().map((plan) => ({ plan, times: stage.stage === "transformer" ? steps : 1 }));
  const decodes = stage.stage === "decoder";
  // One picture or video is encoded for all samples; each sample is decoded.
  const videos = decodes ? samples : 1;
  const batches = frameBatches(decodes ? decodedLatents : encodedFrames, decodes ? LATENT_BATCH : SAMPLE_BATCH).length;
  const times = (graph: number): number => videos * (graph === 0 ? 1 : batches - 1);
  const scale = 2 ** (configs.vae.block_out_channels.length - 1);
  const size = decodes
    ? { height: denoise.height, width: denoise.width }
    : { height: denoise.height * scale, width: denoise.width * scale };
  const shape = {
    ...size,
    part: decodes ? "decode" : "encode",
    batch: 1,
    frames: decodes ? decodedLatents : encodedFrames,
    format: decodes ? "rgba" : "sample",
    dtype,
  } as const;
  if (tiling === "exact")
    return exactSections(configs.vae, caps, shape, stage.memory.tileBytes).flatMap((sections, graph) =>
      sections.map(({ plan, tiles }) => ({ plan, times: tiles * times(graph) })),
    );
  const axes = tiling === "reference" ? tileAxes(configs.vae, shape.part, shape, {}) : null;
  const tiles = axes ? Math.ceil(size.height / axes.rows.step) * Math.ceil(size.width / axes.columns.step) : 1;
  return stage.plans().map((plan, graph) => ({ plan, times: tiles * times(graph) }));
}
