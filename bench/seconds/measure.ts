/** How long the stages of a generation take, beside what was said of them. */
import type { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { loadingSeconds, type StageTime, workingSeconds } from "../../src/pipelines/cogvideox/seconds.ts";
import { median } from "../../src/tuning/measure.ts";

export interface Size {
  readonly width: number;
  readonly height: number;
  readonly frames: number;
  readonly steps: number;
  readonly guidance?: number;
}

/** Of one stage: what was said, the median of the runs and their ends, and of the first run, which makes pipelines and meets them first. */
export interface StageSeconds {
  readonly stage: string;
  readonly predicted: number | undefined;
  readonly measured: number;
  readonly least: number;
  readonly most: number;
  readonly firstPredicted: number | undefined;
  readonly first: number;
}

export interface SizeSeconds {
  readonly size: Size;
  readonly stages: readonly StageSeconds[];
}

type Seconds = Readonly<Record<string, number>>;

/** Generates once, and `runs` times more; seconds by stage of each. */
export async function measureSize(model: CogVideoX, size: Size, runs: number): Promise<Seconds[]> {
  const all: Seconds[] = [];
  for (let run = 0; run <= runs; run++) {
    const { seconds } = await model.generate({
      ...size,
      prompt: "a red circle moving left on a black background",
      seed: run,
      cache: false,
    });
    all.push(seconds as Seconds);
  }
  return all;
}

export function compareStages(size: Size, told: readonly StageTime[], [first, ...runs]: readonly Seconds[]): SizeSeconds {
  const stages = told.flatMap((time) => {
    const { names, loadSeconds, workSeconds } = time;
    const compare = (stage: string, predicted: number | undefined, firstPredicted: number | undefined): StageSeconds => {
      const seconds = runs.map((run) => run[stage]!);
      const [least, most] = [Math.min(...seconds), Math.max(...seconds)];
      return { stage, predicted, measured: median(seconds), least, most, firstPredicted, first: first![stage]! };
    };
    return [
      compare(names[0], loadSeconds, loadSeconds === undefined ? undefined : loadingSeconds(time)),
      compare(names[1], workSeconds, workingSeconds(time)),
    ];
  });
  return { size, stages };
}
