/// <reference lib="dom" preserve="true" />
/**
 * `cogwheel-webgpu/worker`: `CogVideoX` with its model in a thread of its own. What it gives and takes is what the same names of
 * `cogwheel-webgpu` are; of the engine nothing is loaded in the app's thread.
 */
import "./base/dispose.ts";
export {
  ThreadModel as CogVideoX,
  type ThreadGenerateOptions,
  type ThreadOpenOptions,
  type ThreadPromptsOptions,
} from "./thread/model.ts";
export type { Generation, Generations, GenerationStep } from "./pipelines/generation.ts";
export type { OverallProgress } from "./pipelines/overall.ts";
export type { Stage } from "./pipelines/cogvideox/stage-names.ts";
export type { DenoiseState } from "./models/cogvideox/model.ts";
export type { StageMemory } from "./pipelines/requirements.ts";
export type { Settings } from "./pipelines/settings.ts";
export { Video } from "./pipelines/video.ts";
export { GenerationInterrupted } from "./pipelines/interrupted.ts";
export { CogwheelError, type ErrorCode } from "./base/errors.ts";
export { decodeVideo } from "./video/decode.ts";
export { encodeVideo } from "./video/encode.ts";
export { filesSource } from "./sources/picked.ts";
export { memorySource } from "./sources/memory.ts";
export type { CheckpointSource } from "./sources/source.ts";
export type { Frame, RgbaFrame } from "./video/frame.ts";
