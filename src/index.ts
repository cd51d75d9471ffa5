/** Cogwheel: CogVideoX on hand-written WebGPU kernels, in Node and the browser. This file is the whole public API. */
import "./dispose.ts";
export { CogVideoX, type GenerateOptions, type OpenOptions, type Stage, type StageMemory } from "./pipelines/cogvideox.ts";
export { Video, type RgbaFrame } from "./pipelines/video.ts";
export { GenerationInterrupted } from "./pipelines/interrupted.ts";
export type { DenoiseState } from "./pipelines/denoiser.ts";
export type { Settings } from "./pipelines/settings.ts";
export { readLatents, writeLatents, type SavedRun } from "./pipelines/latents-file.ts";
export { Gpu, type OpenGpuOptions } from "./gpu/gpu.ts";
export type { Capabilities } from "./gpu/capabilities.ts";
export { Profile, type ProfileRow } from "./gpu/profile.ts";
export { CogwheelError } from "./errors.ts";
export { encodeVideo } from "./video/encode.ts";
export { filesSource } from "./checkpoint/source-files.ts";
export { memorySource } from "./checkpoint/source-memory.ts";
export { httpSource } from "./checkpoint/source-http.ts";
export type { CheckpointSource } from "./checkpoint/source.ts";
export type { HubOptions, HubProgress } from "./checkpoint/hub-id.ts";
