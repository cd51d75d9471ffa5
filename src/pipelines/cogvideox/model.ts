/** A CogVideoX model as the stages of a generation see it: its configs, its device, its weights. */
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import { isQuantizable, quantizedWeights } from "../../checkpoint/quantized-weights.ts";
import { expectWeights } from "../../checkpoint/weight-index.ts";
import { CogwheelError } from "../../base/errors.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import type { MeasuredRates } from "../../gpu/rates.ts";
import { FORMATS, type Format } from "../../graph/stored.ts";
import { hasPart, KEPT, TABLES } from "../../models/quantizable.ts";
import type { CompileOptions } from "../../plan/compile.ts";
import type { WeightProvider } from "../../run/weight-provider.ts";
import type { T5Tokenizer } from "../../text/t5-tokenizer.ts";
import type { KeptParts } from "../kept-parts.ts";
import type { Opened } from "../opened.ts";
import type { LatentColors } from "../preview.ts";
import type { ModelRules, Settings } from "../settings.ts";
import type { Vocabulary } from "../vocabulary.ts";
import { expectedWeights, type Configs, type Part, type PartWeights } from "./components.ts";

/** Where a model's weights and texts come from: a checkpoint, or a recorded case. */
export interface ModelFiles {
  /** The scheduler's config as it stands in its file. */
  readonly scheduler: Readonly<Record<string, unknown>>;
  /** The shape of a weight; undefined when there is none of that name. */
  shape(part: Part, name: string): readonly number[] | undefined;
  /** How a weight is stored, or will be once it was quantized; undefined where that is not known. */
  format(part: Part, name: string): Format | undefined;
  /** What the user calls it. */
  readonly label: string;
  /** Throws, telling all that is missing or misshapen in any component. */
  expect(weights: PartWeights): void;
  /** What another content of a part's weights would have otherwise; null where nobody can tell. */
  version(part: Part): Promise<string | null>;
  weights(part: Part, options: { signal?: AbortSignal; onWarning?: (message: string) => void }): Promise<WeightProvider>;
  tokenizer(): Promise<T5Tokenizer>;
}

export interface Model {
  /** The device; another one after a loss of the model's own. */
  readonly gpu: Gpu;
  /** The checkpoint's, for people: of a path the last part. */
  readonly name: string;
  /** Storage type of weights and activations. */
  readonly dtype: "f32" | "f16";
  readonly configs: Configs;
  readonly rules: ModelRules;
  /** What is done where nothing else is asked for. */
  readonly defaults: Settings;
  /** The words that it knows, where it knows but a few. */
  readonly vocabulary?: Vocabulary | undefined;
  readonly files: ModelFiles;
  readonly parts: KeptParts;
  /** Bytes of the adapter's memory that a generation may take where it is not told itself; less after one has run out of memory. */
  memoryBytes: number | undefined;
  /** How fast it runs here, where that was measured. */
  rates?: MeasuredRates | undefined;
  /** How its latents look, for previews; asked once. */
  colors?: LatentColors;
}

/** How a component's weights are stored: matrices as the model is, vectors in f32. */
export function weightTypes(
  { dtype, files }: Pick<Model, "dtype"> & { files: Pick<ModelFiles, "shape"> },
  part: Part,
): Pick<WeightProvider, "type"> {
  return { type: (name) => (dtype === "f16" && (files.shape(part, name) ?? []).length > 1 ? "f16" : "f32") };
}

/**
 * Which weights stay on the device as they are stored: matrices of the layers in fewer than 16 bits a value, which are unpacked a layer at
 * a time. The others are few, and read as they are.
 */
export function storedFormats({ files }: { files: Pick<ModelFiles, "format"> }, part: Part): NonNullable<CompileOptions["formats"]> {
  return ({ names, shape }) => {
    const [format, ...others] = new Set(names.map((name) => (IN_LAYER.test(name) ? files.format(part, name) : undefined)));
    return shape.length > 1 && format !== undefined && others.length === 0 && isSmall(format) ? format : null;
  };
}

/** `transformer_blocks.3.ff.net.2.weight` */
const IN_LAYER = /\.\d+\./;
const isSmall = (format: Format): boolean => FORMATS[format].bytes / FORMATS[format].values < 2;

/** The files of a checkpoint. It may be without its weights yet, which then are taken to be as its configs say. */
export function checkpointFiles(opened: Opened, configs: Configs): ModelFiles {
  const { checkpoint } = opened;
  let expected: PartWeights | undefined;
  const shape = (part: Part, name: string): readonly number[] | undefined => {
    const { weights } = checkpoint.component(part);
    return weights ? weights.get(name)?.shape : (expected ??= expectedWeights(configs)).get(part)!.get(name);
  };
  const quantized = (part: Part) => (part === "vae" ? undefined : opened.quantized);
  return {
    label: checkpoint.source.label,
    scheduler: checkpoint.component("scheduler").config,
    shape,
    format(part, name) {
      const stored = checkpoint.component(part).weights?.get(name)?.format ?? undefined;
      const type = quantized(part);
      return type && !stays(part)(name) && isQuantizable(shape(part, name) ?? [], stored) ? type : stored;
    },
    expect: (weights) => expectAll(checkpoint, weights),
    async version(part) {
      const version = (await checkpoint.component(part).weights?.version()) ?? null;
      return version !== null && quantized(part) ? `${version} in ${quantized(part)}` : version;
    },
    async weights(part, options) {
      const weights = await opened.weights(part, options);
      const type = quantized(part);
      return type ? quantizedWeights(weights, type, stays(part)) : weights;
    },
    tokenizer: async () => (await import("../../text/t5-tokenizer.ts")).T5Tokenizer.open(checkpoint.source),
  };
}

/** The weights that `--dtype q8` and `q4` leave as they are. */
export const stays =
  (part: Part) =>
  (name: string): boolean =>
    part === "vae" || [...KEPT[part], ...TABLES].some((word) => hasPart(name, word));

/** Everything that is missing in any component is told at once. */
function expectAll(checkpoint: Checkpoint, expected: PartWeights): void {
  const wrong: CogwheelError[] = [];
  for (const [name, weights] of expected) {
    try {
      expectWeights(checkpoint.component(name), weights);
    } catch (error) {
      if (!(error instanceof CogwheelError)) throw error;
      wrong.push(error);
    }
  }
  if (wrong.length === 1) throw wrong[0]!;
  if (wrong.length) {
    const [first, ...lines] = wrong.flatMap((error) => error.message.replace(/^\[checkpoint\] /, "").split("\n"));
    throw new CogwheelError("checkpoint", first!, { cause: wrong, lines });
  }
}
