/** The data of a run's stages: filtered, scaled and encoded before the first step, so that what is wrong with the last stage ends no long run. */
import type { ClipSizes } from "../../data/clip-size.ts";
import { prepareTogether } from "../../data/encode.ts";
import { type ClipFolder, type ClipRow, filterRows } from "../../data/folder.ts";
import type { PrepareTogetherOptions, PreparedClips } from "../../data/prepared.ts";
import { kindsOf } from "../../data/samples.ts";
import type { CogVideoX } from "../../pipelines/cogvideox/pipeline.ts";
import type { RunIdentity } from "../../training/checkpoint.ts";
import { checkBudget, sizesOf, type StageConfig } from "./stages.ts";

/** A stage with what it learns from. */
export interface PreparedStage extends StageConfig {
  readonly sizes: ClipSizes;
  readonly rows: readonly ClipRow[];
  readonly prepared: PreparedClips;
  /** Clips that show what the model is to keep. */
  readonly prior?: PreparedClips;
}

/** @param prior clips that show what the model is to keep, which are in every stage, of its sizes */
export async function preparedStages(
  stages: readonly StageConfig[],
  model: CogVideoX,
  folder: ClipFolder,
  { prior: kept, onProgress, ...options }: Omit<PrepareTogetherOptions, "sizes"> & { readonly prior?: ClipFolder },
): Promise<PreparedStage[]> {
  // What can be told without reading a clip is told first, of all stages.
  const asked = stages.map((stage) => ({
    ...stage,
    sizes: sizesOf(stage, model),
    rows: stage.filter === undefined ? folder.rows : filterRows(folder.rows, stage.filter),
  }));
  const all: PreparedStage[] = [];
  for (const stage of asked) {
    const prepare = (clips: ClipFolder, which: string): Promise<PreparedClips> =>
      prepareTogether(model, clips, {
        ...options,
        sizes: stage.sizes,
        ...(onProgress
          ? { onProgress: (what, done, detail) => onProgress([stage.name, which, what].filter(Boolean).join(": "), done, detail) }
          : {}),
      });
    const prepared = await prepare({ ...folder, rows: stage.rows }, "");
    await checkBudget(stage, model, prepared);
    if (stage.pictures !== undefined) await kindsOf(prepared, stage.pictures);
    const prior = kept && (await prepare(kept, "prior"));
    if (prior) await checkBudget(stage, model, prior);
    all.push({ ...stage, prepared, ...(prior ? { prior } : {}) });
  }
  return all;
}

/** What a run that goes on must find again of its data. */
export function identityOf(stages: readonly PreparedStage[]): RunIdentity {
  const [first] = stages as [PreparedStage];
  const of = ({ prepared: { identity }, pictures, prior }: PreparedStage) => ({
    ...identity,
    ...(pictures === undefined ? {} : { pictures }),
    ...(prior ? { priorData: prior.identity["data"], priorClips: prior.identity["clips"] } : {}),
  });
  if (first.name === "") return of(first);
  // The model is that of the first; what differs is told by the name of what it is.
  const { weights, encoders } = first.prepared.identity;
  const each = (key: string): unknown[] => stages.map((stage) => (of(stage) as Record<string, unknown>)[key] ?? null);
  return {
    weights,
    encoders,
    ...Object.fromEntries(["data", "clips", "sizes", "imageNoises", "pictures", "priorData", "priorClips"].map((key) => [key, each(key)])),
  };
}
