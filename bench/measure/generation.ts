/** A whole generation with the embedded model: cold, warm, and once more with a time for every kernel. */
import type { Gpu } from "../../src/gpu/gpu.ts";
import { Profile, type ProfileRow } from "../../src/gpu/profile.ts";
import type { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";

const PROMPT = "a red circle moving left on a black background";

export interface MemorySample {
  readonly seconds: number;
  readonly stage: string;
  readonly gpuBytes: number;
  readonly residentBytes: number;
}
export interface GenerationRun {
  readonly seconds: number;
  readonly stages: Readonly<Record<string, number>>;
  readonly pipelines: number;
  /** During which at least one pipeline was being compiled; drivers may compile more at the first dispatch. */
  readonly compileSeconds: number;
}
export interface Generation {
  readonly settings: object;
  readonly cold: GenerationRun;
  /** In the same process; it must compile nothing. */
  readonly warm: GenerationRun;
  readonly memory: readonly MemorySample[];
  readonly kernels: readonly ProfileRow[];
  readonly timestamps: boolean;
}

export async function measureGeneration(gpu: Gpu, model: CogVideoX): Promise<Generation> {
  const memory: MemorySample[] = [];
  const once = async (sample = false): Promise<GenerationRun> => {
    const { compiled, ms } = gpu.pipelines.stats;
    const start = performance.now();
    const video = await model.generate({
      prompt: PROMPT,
      seed: 1,
      cache: false,
      onProgress: (stage) => {
        if (sample)
          memory.push({
            seconds: (performance.now() - start) / 1000,
            stage,
            gpuBytes: gpu.memory.allocated,
            residentBytes: process.memoryUsage.rss(),
          });
      },
    });
    return {
      seconds: (performance.now() - start) / 1000,
      stages: video.seconds as Record<string, number>,
      pipelines: gpu.pipelines.stats.compiled - compiled,
      compileSeconds: (gpu.pipelines.stats.ms - ms) / 1000,
    };
  };
  const cold = await once();
  const warm = await once(true);
  using profile = new Profile(gpu);
  await model.generate({ prompt: PROMPT, seed: 1, gpuProfile: profile, cache: false });
  return { settings: model.defaults, cold, warm, memory, kernels: profile.rows(), timestamps: profile.timed };
}
