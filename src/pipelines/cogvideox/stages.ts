/** The parts of a model that a generation loads, one after another: what each will run and take, planned without a GPU. */
import { CogwheelError } from "../../base/errors.ts";
import type { Capabilities } from "../../gpu/capabilities.ts";
import { denoiseGraph, type DenoiseShape } from "../../models/cogvideox/model.ts";
import { t5Graph } from "../../models/t5/model.ts";
import { compile, type Plan } from "../../plan/compile.ts";
import type { TilingMode } from "../options.ts";
import { measurePlans, type StageMemory } from "../requirements.ts";
import { measureVae, vaePlans, type VaeShape } from "../vae-requirements.ts";
import type { Part } from "./components.ts";
import { weightTypes, type Model } from "./model.ts";

/** One model that is loaded, runs and goes. */
export interface PlannedStage {
  readonly stage: "text encoder" | "encoder" | "transformer" | "decoder";
  /** The component whose weights it loads. */
  readonly part: Part;
  readonly memory: StageMemory;
  /** What it runs; of the VAE a tile's plans where pictures are taken in tiles. Made once. */
  readonly plans: () => readonly Plan[];
}

/** The sizes that stages are planned for. */
export interface StageSizes {
  readonly denoise: DenoiseShape;
  /** Is there a prompt to encode? */
  readonly prompt: boolean;
  /** Frames that are encoded first; 0 for text alone. */
  readonly encodedFrames: number;
  /** Latent frames that are decoded. */
  readonly decodedLatents: number;
}

/** The stages of a generation, in order. */
export function stagesOf(model: Model, sizes: StageSizes, tiling: TilingMode, caps: Capabilities): PlannedStage[] {
  const { configs, dtype, rules } = model;
  const { denoise } = sizes;
  const { height, width } = denoise;
  const of = (
    stage: PlannedStage["stage"],
    part: Part,
    make: () => readonly Plan[],
    measure = (plans: () => readonly Plan[]) => measurePlans(stage, plans()),
  ): PlannedStage => {
    let made: readonly Plan[] | undefined;
    const plans = () => (made ??= make());
    return { stage, part, plans, memory: measure(plans) };
  };
  const vae = (shape: Omit<VaeShape, "batch" | "dtype">): PlannedStage => {
    const one = { ...shape, batch: 1, dtype };
    return of(
      shape.part === "encode" ? "encoder" : "decoder",
      "vae",
      () => vaePlans(configs.vae, caps, one, tiling),
      tiling === "exact" ? () => measureVae(configs.vae, caps, one, tiling) : undefined,
    );
  };
  const stages: PlannedStage[] = [];
  if (sizes.prompt) {
    const texts = { batch: denoise.guidance ? 2 : 1, length: denoise.textLength, dtype };
    stages.push(
      of("text encoder", "text_encoder", () => [compile(t5Graph(configs.text, weightTypes(model, "text_encoder"), texts), caps)]),
    );
  }
  if (sizes.encodedFrames)
    stages.push(
      vae({
        part: "encode",
        frames: sizes.encodedFrames,
        height: height * rules.spatial,
        width: width * rules.spatial,
        format: "sample",
      }),
    );
  stages.push(
    of("transformer", "transformer", () => [
      compile(denoiseGraph(configs.transformer, weightTypes(model, "transformer"), denoise, dtype), caps),
    ]),
    vae({ part: "decode", frames: sizes.decodedLatents, height, width, format: "rgba" }),
  );
  return stages;
}

/** Stages, and the tiling that they are for where none was asked for: none, or what the adapter can. */
export interface Planned {
  readonly tiling: TilingMode;
  readonly stages: readonly PlannedStage[];
  /** What each of them takes. */
  readonly requirements: StageMemory[];
}

/** Plans a model's generations. The last answer is kept: a command asks what a generation will take before it prepares it. */
export class Planner {
  #last: { readonly key: string; readonly caps: Capabilities; readonly planned: Planned } | undefined;

  plan(model: Model, sizes: StageSizes, tiling: TilingMode | undefined): Planned {
    const { caps } = model.gpu;
    const key = JSON.stringify([sizes, tiling]);
    if (this.#last?.key === key && this.#last.caps === caps) return this.#last.planned;
    const plan = (mode: TilingMode): Planned => {
      const stages = stagesOf(model, sizes, mode, caps);
      return { tiling: mode, stages, requirements: stages.map(({ memory }) => memory) };
    };
    let planned: Planned;
    try {
      planned = plan(tiling ?? "none");
    } catch (error) {
      if (tiling !== undefined || !(error instanceof CogwheelError) || error.room === "tuning") throw error;
      planned = plan("exact");
    }
    this.#last = { key, caps, planned };
    return planned;
  }
}

/** The plans of a stage, to be handed on to what loads it. */
export const plansOf = (stages: readonly PlannedStage[], name: PlannedStage["stage"]): readonly Plan[] =>
  stages.find(({ stage }) => stage === name)?.plans() ?? [];
