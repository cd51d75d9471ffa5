/** What was learned, as files that diffusers loads: an adapter, or the transformer's folder. */
import { elements } from "../base/shape.ts";
import { type TensorToWrite, writeSafetensors } from "../files/safetensors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { States } from "../run/states.ts";
import type { WeightProvider } from "../run/weight-provider.ts";
import { weightValues } from "./initial-values.ts";
import type { TrainedLora } from "./lora.ts";
import { parameterNames, stateName } from "./update.ts";

/** Name of an adapter's file in diffusers. */
export const LORA_FILE = "pytorch_lora_weights.safetensors";
/** Name of a model's weights in its folder. */
export const WEIGHTS_FILE = "diffusion_pytorch_model.safetensors";

/** What is written of a trained model, and how. */
export interface ExportOptions {
  /** The moving average of the parameters in place of what was last. Default false. */
  readonly average?: boolean;
  /** Which parameters. Default: all. */
  readonly only?: (name: string) => boolean;
  readonly signal?: AbortSignal;
}

/** What parameters hold, by state-dict name. Of those that lie in one tensor each has its share. */
export async function parameterValues(
  gpu: Gpu,
  states: States,
  { average = false, only = () => true, signal }: ExportOptions = {},
): Promise<Map<string, Float32Array<ArrayBuffer>>> {
  const values = new Map<string, Float32Array<ArrayBuffer>>();
  for (const name of parameterNames(states.tensors.keys()).filter(only)) {
    const from = average ? stateName("average", name) : name;
    const { bytes } = states.tensors.get(name)!;
    const all = new Float32Array(await gpu.read(states.buffer(from), 0, bytes, signal));
    const names = name.split("+");
    const share = all.length / names.length;
    names.forEach((one, i) => void values.set(one, all.subarray(i * share, (i + 1) * share)));
  }
  return values;
}

/**
 * `pytorch_lora_weights.safetensors`: what `load_lora_weights` of diffusers reads, with the rank, alpha and targets that other trainers
 * leave out, so that the adapter works at the strength that it was trained at.
 */
export function loraFile(trained: TrainedLora, values: ReadonlyMap<string, Float32Array>): Uint8Array<ArrayBuffer> {
  const tensors = new Map<string, TensorToWrite>();
  for (const [key, { shape, data }] of trained.tensors(values)) tensors.set(key, { dtype: "F32", shape, data });
  const config = { peft_type: "LORA", r: trained.rank, lora_alpha: trained.alpha, target_modules: trained.targets, bias: "none" };
  const prefixed = Object.fromEntries(Object.entries(config).map(([name, value]) => [`transformer.${name}`, value]));
  return writeSafetensors(tensors, { format: "pt", lora_adapter_metadata: JSON.stringify(prefixed) });
}

/** What a component's folder holds. */
export interface ComponentLayout {
  /** In diffusers. */
  readonly className: string;
  readonly config: object;
  /** Shapes by state-dict name. */
  readonly weights: ReadonlyMap<string, readonly number[]>;
}

/** The files of a component's folder: trained weights, and those that were not trained from where they came. All in f32. */
export async function componentFiles(
  gpu: Gpu,
  { className, config, weights: shapes }: ComponentLayout,
  weights: WeightProvider,
  values: ReadonlyMap<string, Float32Array>,
  signal?: AbortSignal,
): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
  const tensors = new Map<string, TensorToWrite>();
  for (const [name, shape] of shapes) {
    const data = values.get(name) ?? (await weightValues(gpu, weights, { name, names: [name], shape }, signal));
    tensors.set(name, { dtype: "F32", shape, data: data.subarray(0, elements(shape)) });
  }
  return {
    "config.json": new TextEncoder().encode(`${JSON.stringify({ _class_name: className, ...config }, null, 2)}\n`),
    [WEIGHTS_FILE]: writeSafetensors(tensors, { format: "pt" }),
  };
}
