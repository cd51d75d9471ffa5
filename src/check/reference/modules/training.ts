/** Training runs of the transformer: every step on the engine, from the case's clips, noise and timesteps. */
import { brief } from "../../../base/brief.ts";
import { CogwheelError } from "../../../base/errors.ts";
import { parseSchedulerConfig } from "../../../diffusion/config.ts";
import { TorchGenerator } from "../../../diffusion/torch-random.ts";
import { parseTransformerConfig, type TransformerConfig } from "../../../models/cogvideox/config.ts";
import { transformerWeights } from "../../../models/cogvideox/weights.ts";
import type { Batch } from "../../../training/batch.ts";
import { fullParameters } from "../../../training/full.ts";
import { loraParameters, type TrainedLora } from "../../../training/lora.ts";
import type { OptimizerOptions } from "../../../training/optimizer.ts";
import type { Trained } from "../../../training/parameters.ts";
import { trainSteps } from "../../../training/train-steps.ts";
import { expectCaseWeights, hostTensor, inputOf } from "../case.ts";
import { type ReferenceModule, UnsupportedCase } from "../module.ts";
import type { HostTensor, ReferenceCase } from "../reference-case.ts";
import { trainedTensor } from "../training.ts";

/** The options of a run, each of its kind. */
class Options {
  constructor(
    private readonly c: ReferenceCase,
    private readonly values: Readonly<Record<string, unknown>> = c.options,
    private readonly path = "options",
  ) {}

  #fail(name: string, rule: string): never {
    throw new CogwheelError("reference", `${this.c.name}: ${this.path}.${name} ${rule}, got ${brief(this.values[name])}; correct it`);
  }
  number(name: string): number | undefined {
    const value = this.values[name] ?? undefined;
    return value === undefined || typeof value === "number" ? value : this.#fail(name, "must be a number");
  }
  text(name: string, known: readonly string[]): string | undefined {
    const value = this.values[name] ?? undefined;
    return value === undefined || known.includes(value as string)
      ? (value as string | undefined)
      : this.#fail(name, `must be ${known.join(" or ")}`);
  }
  list<T>(name: string, kind: "number" | "string"): readonly T[] | undefined {
    const value = this.values[name] ?? undefined;
    if (value === undefined) return undefined;
    return Array.isArray(value) && value.every((one) => typeof one === kind)
      ? (value as T[])
      : this.#fail(name, `must be a list of ${kind}s`);
  }
  group(name: string): Options | undefined {
    const value = this.values[name] ?? undefined;
    if (value === undefined) return undefined;
    if (typeof value !== "object" || Array.isArray(value)) return this.#fail(name, "must be an object");
    return new Options(this.c, value as Record<string, unknown>, `${this.path}.${name}`);
  }
}

/** The optimizer's settings; what is left out is torch's default. */
function optimizerOf(options: Options | undefined): OptimizerOptions & { lr: number } {
  options?.text("name", ["adamw"]);
  const [beta1 = 0.9, beta2 = 0.999] = options?.list<number>("betas", "number") ?? [];
  return {
    name: "adamw",
    lr: options?.number("lr") ?? 1e-3,
    betas: [beta1, beta2],
    eps: options?.number("eps") ?? 1e-8,
    weightDecay: options?.number("weight_decay") ?? 1e-2,
  };
}

/** Steps, micro-steps and what each is made of. */
interface Clips {
  readonly steps: number;
  readonly micros: number;
  batch(step: number, micro: number): Batch;
}

function clipsOf(c: ReferenceCase, config: TransformerConfig): Clips {
  const [latents, noise, timesteps, text] = [
    inputOf(c, "latents", 7),
    inputOf(c, "noise", 7),
    inputOf(c, "timesteps", 3),
    inputOf(c, "text", 5),
  ];
  const condition = c.inputs.has("condition") ? inputOf(c, "condition", 7) : undefined;
  const [steps, micros, clips, frames, , height, width] = latents.shape as [number, number, number, number, number, number, number];
  for (const [name, tensor] of Object.entries({ noise, timesteps, text, ...(condition ? { condition } : {}) }))
    if (tensor.shape.slice(0, 3).join() !== [steps, micros, clips].join())
      throw new CogwheelError(
        "reference",
        `${c.name}: input.${name} must have the steps, micro-steps and clips of input.latents, [${steps}, ${micros}, ${clips}], ` +
          `got [${tensor.shape.join(", ")}]; make the case again`,
      );
  const ofs = c.inputs.has("ofs") ? inputOf(c, "ofs", 1) : undefined;
  const textLength = text.shape[3]!;
  if (text.shape[4] !== config.text_embed_dim)
    throw new CogwheelError(
      "reference",
      `${c.name}: input.text must end in ${config.text_embed_dim} values, got [${text.shape.join(", ")}]`,
    );
  const part = ({ data }: HostTensor, step: number, micro: number): Float32Array => {
    const size = data.length / (steps * micros);
    return data.subarray((step * micros + micro) * size, (step * micros + micro + 1) * size);
  };
  return {
    steps,
    micros,
    batch: (step, micro) => ({
      shape: { clips, frames, height, width, textLength },
      latents: part(latents, step, micro),
      noise: part(noise, step, micro),
      timesteps: [...part(timesteps, step, micro)],
      text: part(text, step, micro),
      ...(condition ? { condition: part(condition, step, micro) } : {}),
      ...(ofs ? { ofs: Array.from({ length: clips }, (_, i) => ofs.data[i % ofs.data.length]!) } : {}),
    }),
  };
}

const trainTransformer: ReferenceModule = async (c, context) => {
  if (c.options["clips"] !== undefined)
    throw new UnsupportedCase(
      "reference",
      `${c.name}: clips of one size are trained on, got packed ones (options.clips); this engine does not pack clips yet`,
    );
  const options = new Options(c);
  const parsed = parseTransformerConfig(c.config, c.name);
  const clips = clipsOf(c, parsed);
  const { height, width } = clips.batch(0, 0).shape;
  // From the table's start: the grid that is cropped is the clip's own.
  const prefix = options.text("rope", ["prefix", "pipeline"]) === "prefix";
  const config = prefix ? { ...parsed, sample_height: height, sample_width: width } : parsed;
  const weights = context.weights();
  expectCaseWeights(c, weights, transformerWeights(config));
  const { name: _, ...scheduler } = (c.options["scheduler"] ?? {}) as Record<string, unknown>;
  const optimizer = optimizerOf(options.group("optimizer"));
  const lora = options.group("lora");
  const trained = lora ? adapterOf(c, lora) : fullParameters(transformerWeights(config).keys());
  const schedule = options.group("schedule");
  schedule?.text("name", ["constant", "constant_with_warmup"]);
  const warmupSteps = schedule?.number("warmup_steps") ?? 0;
  const maxGradNorm = options.number("max_grad_norm");
  const decay = options.group("ema")?.number("decay");
  const model = { config, scheduler: parseSchedulerConfig({ ...scheduler, prediction_type: "v_prediction" }, c.name), weights };
  const steps = Array.from({ length: clips.steps }, (_, step) =>
    Array.from({ length: clips.micros }, (_, micro) => clips.batch(step, micro)),
  );
  const { loss, gradNorm, values, average } = await trainSteps(context.gpu, model, steps, {
    trained,
    optimizer,
    schedule: { warmupSteps },
    accumulation: clips.micros,
    dtype: context.dtype,
    ...(maxGradNorm === undefined ? {} : { maxGradNorm }),
    ...(decay === undefined ? {} : { ema: { decay } }),
  });
  const out: Record<string, HostTensor> = {
    loss: hostTensor(Float32Array.from(loss), [clips.steps]),
    grad_norm: hostTensor(Float32Array.from(gradNorm), [clips.steps]),
  };
  const tensors = (of: ReadonlyMap<string, Float32Array> | undefined) => of && tensorsOf(c, trained, of);
  const [last, averages] = [tensors(values), tensors(average)];
  for (const [name, { shape }] of c.outputs) {
    const data = (name.startsWith("ema.") ? averages : last)?.get(trainedTensor(c, name) ?? "");
    if (data) out[name] = hostTensor(data, shape);
  }
  return out;
};

/** The adapter that is trained, whose matrices at the start are the case's. */
function adapterOf(c: ReferenceCase, options: Options): TrainedLora {
  const [rank, alpha, targets] = [options.number("rank"), options.number("alpha"), options.list<string>("target_modules", "string")];
  const initial = c.loras[0];
  if (!initial)
    throw new CogwheelError("reference", `${c.name}: an adapter that is trained needs matrices to begin with, got none; add lora.0.…`);
  const shapes = new Map([...c.weights].map(([name, { shape }]) => [name, shape]));
  return loraParameters(
    shapes,
    { initial, ...(rank === undefined ? {} : { rank }), ...(alpha === undefined ? {} : { alpha }), ...(targets ? { targets } : {}) },
    new TorchGenerator(0),
  );
}

/** What the case's tensors have become, by `weight.<name>` and `lora.0.<key>`; those that are not trained are what they were. */
function tensorsOf(
  c: ReferenceCase,
  trained: Trained | TrainedLora,
  values: ReadonlyMap<string, Float32Array>,
): ReadonlyMap<string, Float32Array> {
  if ("tensors" in trained) return new Map([...trained.tensors(values)].map(([key, { data }]) => [`lora.0.${key}`, data]));
  return new Map([...c.weights].map(([name, { data }]) => [`weight.${name}`, values.get(name)?.subarray(0, data.length) ?? data]));
}

export const trainingModules: Record<string, ReferenceModule> = { "train.CogVideoXTransformer3DModel": trainTransformer };
