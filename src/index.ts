/// <reference lib="dom" preserve="true" />
/** Cogwheel: CogVideoX on hand-written WebGPU kernels, in Node and the browser. This file is the whole public API. */
import "./base/dispose.ts";
export { CogVideoX } from "./pipelines/cogvideox/pipeline.ts";
export type { PromptsOptions } from "./pipelines/cogvideox/prompts.ts";
export type { GenerationRequest } from "./pipelines/cogvideox/request.ts";
export type { RequirementOptions } from "./pipelines/cogvideox/sizes.ts";
export type { Configs } from "./pipelines/cogvideox/components.ts";
export type { Stage } from "./pipelines/cogvideox/stage-names.ts";
export type { GenerateOptions, OpenOptions, TilingMode } from "./pipelines/options.ts";
export type { KernelChoice, StageMemory } from "./pipelines/requirements.ts";
export type { KeptPrompt } from "./pipelines/prompt-cache.ts";
export type { LoadLoraOptions } from "./pipelines/lora-file.ts";
export type { AdapterAdvice, LoadedLora, LoraInput } from "./pipelines/lora-input.ts";
export type { ReferenceProfile } from "./pipelines/profiles.ts";
export type { Task, TaskInputs } from "./pipelines/task.ts";
export type { Generation, Generations, GenerationStep } from "./pipelines/generation.ts";
export type { OverallProgress } from "./pipelines/overall.ts";
export { Video } from "./pipelines/video.ts";
export { showTexture } from "./pipelines/textures.ts";
export { GenerationInterrupted } from "./pipelines/interrupted.ts";
export type { DenoiseState } from "./models/cogvideox/model.ts";
export type { Settings } from "./pipelines/settings.ts";
export {
  VideoVae,
  type DecodeLatentsOptions,
  type EncodeVideoOptions,
  type OpenVaeOptions,
  type VideoLatents,
} from "./pipelines/video-vae.ts";
export type { TilingReport } from "./models/vae/exact/run.ts";
export type { WorkerReport } from "./models/vae/split/run.ts";
export type { WorkerPlace } from "./pipelines/workers/types.ts";
export { writeLatents, writeVideoLatents, type SavedRun } from "./pipelines/latents-file.ts";
export { train, type Training } from "./training/train.ts";
export type { DilocoOptions } from "./training/diloco/options.ts";
export type { RoundReport, StepClip, Trainable, TrainingStep, TrainOptions } from "./training/options.ts";
export type { PriorOptions, PriorTarget } from "./training/prior/options.ts";
export type { TrainingData } from "./training/batches.ts";
export type { SamplingOptions } from "./training/sample.ts";
export type { ConditionDraw, GivenSample, LateSample, TrainingSample } from "./training/training-sample.ts";
export type { LoraOptions } from "./training/lora.ts";
export type { OptimizerOptions } from "./training/optimizer.ts";
export type { Schedule } from "./training/schedule.ts";
export type { StageOptions } from "./training/stages.ts";
export { trainVae, type VaeTraining } from "./training/vae/train-vae.ts";
export type {
  DiscriminatorTraining,
  DiscriminatorTurn,
  TrainableVae,
  TrainVaeOptions,
  VaeStageOptions,
  VaeTrainingStep,
} from "./training/vae/options.ts";
export type { AdaptiveBounds, GradientPenalty, VaeWeights } from "./training/vae/losses.ts";
export type { LogVarianceOptions } from "./training/vae/log-variance.ts";
export type { LpipsJudge } from "./training/vae/judges.ts";
export type { DiscriminatorConfig } from "./models/discriminator/config.ts";
export type { LpipsFile, OpenedLpips } from "./models/lpips/open.ts";
export type { GivenPixels, LatePixels, PixelSample } from "./training/vae/sample.ts";
export type { TrainingModel } from "./training/trainer.ts";
export type { RatesOptions } from "./tuning/rates.ts";
export type { MeasuredRates } from "./gpu/rates.ts";
export type { StageTime } from "./pipelines/cogvideox/seconds.ts";
export type { TuneOptions, TuningReport } from "./tuning/tune.ts";
export type { MeasuredCandidate, MeasuredWork } from "./tuning/measure.ts";
export type { TuningTable } from "./gpu/tuning-table.ts";
export { Gpu, type OpenGpuOptions } from "./gpu/gpu.ts";
export type { Capabilities } from "./gpu/capabilities.ts";
export { Profile, type ProfileRow } from "./gpu/profile.ts";
export { CogwheelError, type ErrorCode } from "./base/errors.ts";
export type { Fit } from "./video/fit.ts";
export type { Frame, RgbaFrame } from "./video/frame.ts";
export { decodeVideo, type DecodedVideo, type DecodeLimits, type DecodeOptions } from "./video/decode.ts";
export { encodeVideo } from "./video/encode.ts";
export { openSource } from "./hub/open.ts";
export { filesSource } from "./sources/picked.ts";
export { memorySource } from "./sources/memory.ts";
export { httpSource } from "./sources/http.ts";
export {
  removeStoredCheckpoint,
  storeCheckpoint,
  storedCheckpoint,
  storedCheckpoints,
  type StoredCheckpoint,
  type StoreOptions,
} from "./hub/stored.ts";
export type { ComponentFile } from "./checkpoint/component-file.ts";
export type { ComponentInput, ConfigInput, FileInput } from "./pipelines/component-files.ts";
export type { CheckpointSource } from "./sources/source.ts";
export type { HubOptions, HubProgress } from "./hub/id.ts";
export {
  clearPrompts,
  clipSamples,
  emptyText,
  enhance,
  listPrompts,
  loadLora,
  measureRates,
  openClips,
  openLpips,
  prepareClips,
  readCase,
  runCase,
  tune,
  readLatents,
  readVideoLatents,
} from "./seldom.ts";
export type { EnhancedPrompt, EnhanceOptions } from "./curation/enhance/enhance.ts";
export type { ExportOptions } from "./training/export.ts";
export type { ClipFolder, ClipRow } from "./data/folder.ts";
export type { ClipSizes } from "./data/clip-size.ts";
export type { PreparedClip, PreparedClips, PrepareClipsOptions } from "./data/prepared.ts";
export type { CaseResult, CaseVerdict } from "./check/reference/run.ts";
export type { Comparison } from "./check/reference/compare.ts";
export type { ReferenceCase } from "./check/reference/reference-case.ts";
