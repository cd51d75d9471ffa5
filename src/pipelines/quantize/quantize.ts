/**
 * A checkpoint's component → a GGUF file with its matrices in ggml's blocks, weight by weight, so that no more than a layer is in memory.
 * Beside the file it says what is lost: of every matrix, and of what each layer makes of a drawn input, on the device.
 */
import { openSource } from "#files";
import { CogwheelError } from "../../base/errors.ts";
import { openCheckpoint, type Checkpoint } from "../../checkpoint/checkpoint.ts";
import { expectWeights, type WeightIndex } from "../../checkpoint/weight-index.ts";
import { ggufLayout, type GgufLayout } from "../../files/gguf-write.ts";
import { QUANTIZED_TYPES, type QuantizedType } from "../../files/quantize.ts";
import { Gpu } from "../../gpu/gpu.ts";
import type { StoredWeight } from "../../graph/stored.ts";
import type { SingleLayer } from "../../models/single-layer.ts";
import { TIED_T5_WEIGHTS } from "../../models/t5/weights.ts";
import type { CheckpointSource } from "../../sources/source.ts";
import { defined, type OpenOptions } from "../options.ts";
import { hasPart, KEPT, QUANTIZABLE, type Quantizable } from "../../models/quantizable.ts";
import { quantizableModel, type QuantizableModel } from "./components.ts";
import { outputError } from "./measure.ts";
import { isQuantized, relativeError, writtenBytes, writtenType, type ErrorSums, type WrittenType } from "./weight.ts";

export interface QuantizeOptions extends Pick<OpenOptions, "gpu" | "adapter" | "variant" | "hub"> {
  readonly type: QuantizedType;
  /** Default `transformer`. */
  readonly component?: Quantizable;
  /** Weights that stay as they are, by parts of their names between dots (`norm1.linear`). Default: {@link KEPT}. */
  readonly keep?: readonly string[];
  readonly signal?: AbortSignal;
  /** Share that is done, and the weight or layer that is worked on. */
  readonly onProgress?: (done: number, at: string) => void;
}

/** A weight of the file. */
export interface WrittenWeight {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: WrittenType;
  readonly bytes: number;
  /** ‖quantized − weight‖₂ / ‖weight‖₂; null where it was not quantized. */
  readonly error: number | null;
}

/** A layer, or all weights outside of layers. */
export interface WrittenLayer {
  readonly name: string;
  readonly weights: readonly WrittenWeight[];
  /** Of all its quantized weights together; null where it has none. */
  readonly weightError: number | null;
  /** ‖difference of the outputs‖₂ / ‖what the layer adds to its input‖₂, on a drawn input; null where it has none or is no layer. */
  readonly outputError: number | null;
}

export interface QuantizeReport {
  readonly component: Quantizable;
  readonly type: QuantizedType;
  readonly keep: readonly string[];
  readonly adapter: string;
  readonly layers: readonly WrittenLayer[];
  /** Bytes of the weights in the checkpoint, and of the file. */
  readonly bytesBefore: number;
  readonly bytes: number;
}

/** Quantizes a component. @param write takes the file, in pieces: what it resolves to is waited for */
export async function quantizeCheckpoint(
  from: string | URL | CheckpointSource,
  options: QuantizeOptions,
  write: (file: AsyncIterable<Uint8Array>) => Promise<void>,
): Promise<QuantizeReport> {
  const { component = "transformer", keep = KEPT[component], gpu: given, adapter } = options;
  checkAsked(component, options.type, keep);
  const what = { only: [component], tied: TIED_T5_WEIGHTS, family: "CogVideoX", ...defined({ variant: options.variant }) };
  await using checkpoint = await openCheckpoint(await openSource(from, { ...what, ...defined({ hub: options.hub }) }), what);
  const work = await Quantizing.plan(checkpoint, component, keep, options);
  const gpu = given ?? (await Gpu.open(defined({ adapter })));
  try {
    await write(work.file(gpu));
  } finally {
    if (!given) await gpu[Symbol.asyncDispose]();
  }
  return {
    component,
    type: options.type,
    keep,
    adapter: gpu.name,
    layers: work.layers,
    bytesBefore: work.bytesBefore,
    bytes: work.layout.bytes,
  };
}

function checkAsked(component: string, type: string, keep: readonly string[]): void {
  const fail = (rule: string): never => {
    throw new CogwheelError("quantize", rule);
  };
  if (!(QUANTIZABLE as readonly string[]).includes(component))
    fail(`the component must be ${QUANTIZABLE.join(" or ")}, got ${JSON.stringify(component)}; the VAE's convolutions have no blocks`);
  if (!(QUANTIZED_TYPES as readonly string[]).includes(type))
    fail(`the type must be one of ${QUANTIZED_TYPES.join(", ")}, got ${JSON.stringify(type)}; q8_0 loses least`);
  const bad = keep.find((part) => !/^[\w-]+(?:\.[\w-]+)*$/.test(part));
  if (bad !== undefined) fail(`names of weights to keep must be words with dots between, got ${JSON.stringify(bad)}; such as norm1.linear`);
}

/** Weights that are told of together: a layer's, or all outside of layers. */
interface Group {
  readonly name: string;
  readonly weights: readonly string[];
  readonly layer?: SingleLayer;
}

class Quantizing {
  readonly layers: WrittenLayer[] = [];

  private constructor(
    readonly model: QuantizableModel,
    readonly index: WeightIndex,
    /** In the order of the file. */
    readonly groups: readonly Group[],
    readonly types: ReadonlyMap<string, WrittenType>,
    readonly layout: GgufLayout,
    readonly options: QuantizeOptions,
  ) {}

  /** Checks the weights, and decides what each becomes. */
  static async plan(
    checkpoint: Checkpoint,
    component: Quantizable,
    keep: readonly string[],
    options: QuantizeOptions,
  ): Promise<Quantizing> {
    const part = checkpoint.component(component);
    const model = quantizableModel(component, part.config, part.configFile ?? undefined);
    expectWeights(part, model.weights);
    const index = part.weights!;
    const { type, signal } = options;
    const names = [...model.weights.keys()];
    const unused = options.keep?.filter((word) => !names.some((name) => hasPart(name, word))) ?? [];
    if (unused.length)
      throw new CogwheelError(
        "quantize",
        `names of weights to keep must be some of this ${component}'s, got ${unused.join(", ")}; inspect --weights lists them`,
      );
    const groups = groupsOf(names, model.layers);
    const types = new Map<string, WrittenType>();
    for (const name of groups.flatMap(({ weights }) => weights)) {
      const kept = keep.some((word) => hasPart(name, word));
      types.set(name, await writtenType(index.stored(name), { type, kept, signal }));
    }
    if (![...types.values()].some(isQuantized))
      throw new CogwheelError(
        "quantize",
        `some weights must be matrices that are not kept and whose rows divide into blocks of 32, got none of ${types.size}; keep fewer`,
      );
    const tensors = [...types].map(([name, type]) => ({
      name: model.nameOf(name),
      type: type.toUpperCase(),
      shape: model.weights.get(name)!,
    }));
    const metadata = new Map(model.metadata).set("general.quantization_version", 2);
    return new Quantizing(model, index, groups, types, ggufLayout(metadata, tensors), options);
  }

  /** Bytes of the weights as the checkpoint has them. */
  get bytesBefore(): number {
    return [...this.types.keys()].map((name) => this.index.get(name)!).reduce((sum, { start, end }) => sum + end - start, 0);
  }

  /** The bytes of the file. A layer is measured once its weights are written. */
  async *file(gpu: Gpu): AsyncGenerator<Uint8Array> {
    yield this.layout.header;
    for (const [seed, { name, weights: names, layer }] of this.groups.entries()) {
      const weights: WrittenWeight[] = [];
      const all: ErrorSums = { error: 0, norm: 0 };
      const blocks = new Map<string, StoredWeight>();
      for (const weight of names) {
        const sums: ErrorSums = { error: 0, norm: 0 };
        yield* this.#written(weight, sums, layer ? blocks : undefined);
        const [type, shape] = [this.types.get(weight)!, this.model.weights.get(weight)!];
        weights.push({
          name: weight,
          shape,
          type,
          bytes: this.#place(weight).bytes,
          error: isQuantized(type) ? relativeError(sums) : null,
        });
        all.error += sums.error;
        all.norm += sums.norm;
      }
      const own = (weight: string): StoredWeight => this.index.stored(weight);
      const measured = layer && blocks.size ? await outputError(gpu, layer, { own, blocks, seed, signal: this.options.signal }) : null;
      const weightError = weights.some(({ error }) => error !== null) ? relativeError(all) : null;
      this.layers.push({ name, weights, weightError, outputError: measured });
    }
  }

  /** The bytes of one weight. @param blocks take it, where it is quantized */
  async *#written(name: string, sums: ErrorSums, blocks?: Map<string, StoredWeight>): AsyncGenerator<Uint8Array> {
    const { signal, onProgress } = this.options;
    const { bytes, padding, start } = this.#place(name);
    const type = this.types.get(name)!;
    const kept = blocks && isQuantized(type) ? new Uint8Array(bytes) : undefined;
    let at = 0;
    for await (const part of writtenBytes(this.index.stored(name), type, sums, signal)) {
      yield part;
      kept?.set(part, at);
      at += part.length;
      onProgress?.((start + at) / this.layout.bytes, name);
    }
    yield new Uint8Array(padding);
    if (kept && isQuantized(type))
      blocks!.set(name, {
        label: name,
        shape: this.model.weights.get(name)!,
        format: type,
        read: async (start, into) => into.set(kept.subarray(start, start + into.length)),
      });
  }

  #place(name: string): { start: number; bytes: number; padding: number } {
    return this.layout.tensors.get(this.model.nameOf(name))!;
  }
}

/** What lies outside of layers, then the layers. */
function groupsOf(names: readonly string[], layers: readonly SingleLayer[]): Group[] {
  const inside = layers.map((layer) => ({ name: layer.name, layer, weights: names.filter((name) => name.startsWith(`${layer.name}.`)) }));
  const taken = new Set(inside.flatMap(({ weights }) => weights));
  return [{ name: "outside of layers", weights: names.filter((name) => !taken.has(name)) }, ...inside];
}
