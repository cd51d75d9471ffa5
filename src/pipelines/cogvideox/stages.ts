/** The parts of a model that a generation loads, one after another: what each will run and take, planned without a GPU. */
import { CogwheelError } from "../../base/errors.ts";
import type { Capabilities } from "../../gpu/capabilities.ts";
import type { Graph } from "../../graph/graph.ts";
import { denoiseGraph, type DenoiseShape } from "../../models/cogvideox/model.ts";
import { t5Graph } from "../../models/t5/model.ts";
import { compile, type CompileOptions, type Plan } from "../../plan/compile.ts";
import { layersOf, leastResidence, residenceWithin } from "../../plan/residence.ts";
import { spilling } from "../host-room.ts";
import type { TilingMode } from "../options.ts";
import { measurePlans, withResidence, type StageMemory } from "../requirements.ts";
import { leastExact, measureExact, measureVae, vaePlans, type VaeShape } from "../vae-requirements.ts";
import type { Part } from "./components.ts";
import { storedFormats, weightTypes, type Model } from "./model.ts";
import type { ClipPlanner } from "./share.ts";

/** One model that is loaded, runs and goes. */
export interface PlannedStage {
  readonly stage: "text encoder" | "encoder" | "transformer" | "decoder";
  /** The component whose weights it loads. */
  readonly part: Part;
  readonly memory: StageMemory;
  /** What it runs; of the VAE a tile's plans where pictures are taken in tiles. Made once. */
  readonly plans: () => readonly Plan[];
  /** The smallest limit of memory that it could be planned for. */
  readonly least: () => number;
}

/** The sizes that stages are planned for. */
export interface StageSizes {
  readonly denoise: DenoiseShape;
  /** Is there a prompt to encode? */
  readonly prompt: boolean;
  /** Are there steps left to take? */
  readonly steps: boolean;
  /** Frames that are encoded first; 0 for text alone. */
  readonly encodedFrames: number;
  /** Latent frames that are decoded; 0 where the run ends with latents. */
  readonly decodedLatents: number;
}

/** What stages are planned within. */
export interface Within {
  readonly caps: Capabilities;
  /** Bytes of the adapter's memory; without, all that a stage would take. */
  readonly limit: number | undefined;
  /** Bytes of the host's memory that activations may take, where they can be spilled to a disk. Default: all. */
  readonly hostLimit?: number | undefined;
  /** Is the VAE's work shared out over workers? */
  readonly clips?: ClipPlanner | undefined;
  /** Keeps plans with all weights there, which take the longest to make and are the same at every limit. */
  readonly memo: Map<string, Plan>;
}

/** What a model is planned by. */
export type PlannedModel = Pick<Model, "configs" | "dtype" | "rules"> & { readonly files: Pick<Model["files"], "shape" | "format"> };

/** The stages of a generation, in order, and the tiling that they are for. */
export interface Stages {
  readonly tiling: TilingMode;
  readonly stages: readonly PlannedStage[];
}

/** @param tiling none that is asked for: `none`, or where that cannot be or takes too much, `exact` */
export function stagesOf(model: PlannedModel, sizes: StageSizes, tiling: TilingMode | undefined, within: Within): Stages {
  const { configs, dtype, rules } = model;
  const { denoise } = sizes;
  const { height, width } = denoise;
  const layered: PlannedStage[] = [];
  if (sizes.prompt) {
    const texts = { batch: denoise.guidance ? 2 : 1, length: denoise.textLength, dtype };
    layered.push(
      layeredStage(model, "text encoder", "text_encoder", [() => t5Graph(configs.text, weightTypes(model, "text_encoder"), texts)], within),
    );
  }
  const steps = (apart: boolean) => () =>
    denoiseGraph(configs.transformer, weightTypes(model, "transformer"), { ...denoise, apart }, dtype);
  if (sizes.steps)
    layered.push(
      layeredStage(
        model,
        "transformer",
        "transformer",
        denoise.guidance && !denoise.separate ? [steps(false), steps(true)] : [steps(false)],
        within,
      ),
    );

  const vae = (mode: TilingMode): PlannedStage[] => {
    const encoded = { part: "encode", frames: sizes.encodedFrames, format: "sample" } as const;
    const pixels = { height: height * rules.spatial, width: width * rules.spatial };
    const decoded = { part: "decode", frames: sizes.decodedLatents, height, width, format: "rgba" } as const;
    return [...(sizes.encodedFrames ? [{ ...encoded, ...pixels }] : []), ...(sizes.decodedLatents ? [decoded] : [])].map((shape) =>
      vaeStage(model, { ...shape, batch: 1, dtype }, mode, within),
    );
  };
  // Workers have their parts of a clip whole, whatever the tiling.
  const { mode, made } = within.clips
    ? { mode: "none" as const, made: vae("none") }
    : tiling === undefined
      ? tiledIfNeeded(vae, within.limit)
      : { mode: tiling, made: vae(tiling) };
  const order: readonly PlannedStage["stage"][] = ["text encoder", "encoder", "transformer", "decoder"];
  return { tiling: mode, stages: [...layered, ...made].sort((a, b) => order.indexOf(a.stage) - order.indexOf(b.stage)) };
}

/** Whole pictures, unless the adapter cannot have them or they take too much. */
function tiledIfNeeded(vae: (mode: TilingMode) => PlannedStage[], limit = Infinity): { mode: TilingMode; made: PlannedStage[] } {
  try {
    const made = vae("none");
    if (made.every(({ memory }) => memory.peak <= limit)) return { mode: "none", made };
  } catch (error) {
    if (!isTooLarge(error)) throw error;
  }
  return { mode: "exact", made: vae("exact") };
}

/** What no buffer or binding can hold. A tuning table that names what cannot run is no matter of size. */
const isTooLarge = (error: unknown): boolean => error instanceof CogwheelError && error.room !== "tuning";

/**
 * A model of layers, whose weights may come and go. Everything stays where that fits; else as many layers as do.
 * @param graphs one or more ways to compute the same, the later ones with fewer activations: the first that fits is taken
 */
function layeredStage(
  model: PlannedModel,
  stage: PlannedStage["stage"],
  part: Part,
  graphs: readonly (() => Graph)[],
  { caps, limit = Infinity, memo }: Within,
): PlannedStage {
  const formats = storedFormats(model, part);
  const stored = { formats, asStored: formats };
  const whole = (way: number): Plan => {
    const key = `${stage} ${way}`;
    // What is unpacked comes at once: room for one layer is enough.
    const plan = memo.get(key) ?? compile(graphs[way]!(), caps, { ...stored, slots: 1 });
    memo.set(key, plan);
    return plan;
  };
  const last = graphs.length - 1;
  const measured = (way: number): StageMemory => ({ ...measurePlans(stage, [whole(way)]), ...(way > 0 ? { apart: true as const } : {}) });
  const least = (): number => withResidence(measured(last), leastResidence(layersOf(whole(last)))).peak;
  const made = (way: number, memory: StageMemory, options: CompileOptions): PlannedStage => {
    const all = memory.streamed === 0;
    return { stage, part, memory, least, plans: once(() => [all ? whole(way) : compile(graphs[way]!(), caps, { ...options, ...stored })]) };
  };
  for (let way = 0; way <= last; way++) {
    try {
      const memory = measured(way);
      const layers = layersOf(whole(way));
      const found = residenceWithin(layers, (residence) => withResidence(memory, residence).peak <= limit);
      // What fits in no way is told with what it would take at its least.
      const residence = found ?? (way === last ? leastResidence(layers) : undefined);
      if (residence) return made(way, withResidence(memory, residence), residence.options);
    } catch (error) {
      if (way === last || !isTooLarge(error)) throw error;
    }
  }
  throw new Error("there is always a last way");
}

function vaeStage(
  { configs }: PlannedModel,
  shape: VaeShape,
  mode: TilingMode,
  { caps, limit = Infinity, hostLimit, clips }: Within,
): PlannedStage {
  const stage = shape.part === "encode" ? "encoder" : "decoder";
  const plans = once(() => vaePlans(configs.vae, caps, shape, mode));
  if (clips) return { stage, part: "vae", plans, ...clips.plan(configs.vae, caps, shape, limit) };
  const least = once(() =>
    Math.min(
      ...leastOf(
        mode,
        () => measurePlans(stage, plans()),
        () => leastExact(configs.vae, caps, shape),
      ),
    ),
  );
  const of = (memory: StageMemory): PlannedStage => ({ stage, part: "vae", memory, plans, least });
  if (mode !== "exact") return of(mode === "none" ? measurePlans(stage, plans()) : measureVae(configs.vae, caps, shape, mode));
  const memory = measureExact(configs.vae, caps, shape);
  const left = limit - (memory.peak - memory.activations);
  if (memory.peak <= limit || left < leastExact(configs.vae, caps, shape).activations) return of(spilling(memory, hostLimit));
  return of(spilling(measureExact(configs.vae, caps, shape, left), hostLimit));
}

/** Bytes of each way to go about pictures. */
function leastOf(mode: TilingMode, whole: () => StageMemory, exact: () => StageMemory): number[] {
  const least: number[] = [];
  for (const measure of mode === "exact" ? [exact] : [whole, exact])
    try {
      least.push(measure().peak);
    } catch (error) {
      if (!isTooLarge(error)) throw error;
    }
  return least;
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

/** The plans of a stage, to be handed on to what loads it. */
export const plansOf = (stages: readonly PlannedStage[], name: PlannedStage["stage"]): readonly Plan[] =>
  stages.find(({ stage }) => stage === name)?.plans() ?? [];

/** Parts whose weights are there in different ways are different parts; of one whose weights all stay there is no more to say. */
export function residenceKey(stages: readonly PlannedStage[], name: PlannedStage["stage"]): string {
  const memory = stages.find(({ stage }) => stage === name)?.memory;
  return memory?.streamed ? JSON.stringify(memory.residence) : "";
}
