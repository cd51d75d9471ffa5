/** Training runs of the transformer: every step on the engine, from the case's clips, noise and timesteps. */
import { CogwheelError } from "../../../base/errors.ts";
import { parseSchedulerConfig } from "../../../diffusion/config.ts";
import { TorchGenerator } from "../../../diffusion/torch-random.ts";
import { parseTransformerConfig, type TransformerConfig } from "../../../models/cogvideox/config.ts";
import { transformerWeights } from "../../../models/cogvideox/weights.ts";
import { capacityFor, type RopeRule } from "../../../models/cogvideox/packed.ts";
import { fullParameters } from "../../../training/full.ts";
import { loraParameters, type TrainedLora } from "../../../training/lora.ts";
import type { Trained } from "../../../training/parameters.ts";
import { trainSteps } from "../../../training/train-steps.ts";
import type { MicroBatch } from "../../../training/micro-batch.ts";
import { expectCaseWeights, hostTensor, inputOf } from "../case.ts";
import type { ReferenceModule } from "../module.ts";
import type { HostTensor, ReferenceCase } from "../reference-case.ts";
import { trainedTensor } from "../training.ts";
import { RunOptionsOfCase, torchOptimizer } from "./run-options.ts";

/** Steps, micro-steps and what each is made of. */
interface Clips {
  readonly steps: number;
  readonly micros: number;
  batch(step: number, micro: number): MicroBatch;
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

/** Clips of any size in one sequence: `clip.<i>.…`. */
function packedClipsOf(c: ReferenceCase, config: TransformerConfig, count: number, rope: RopeRule): Clips {
  if (!Number.isInteger(count) || count < 1)
    throw new CogwheelError("reference", `${c.name}: options.clips must be a whole number from 1, got ${count}; correct it`);
  const given = Array.from({ length: count }, (_, i) => ({
    latents: inputOf(c, `clip.${i}.latents`, 6),
    noise: inputOf(c, `clip.${i}.noise`, 6),
    timestep: inputOf(c, `clip.${i}.timestep`, 2),
    text: inputOf(c, `clip.${i}.text`, 4),
    ...(c.inputs.has(`clip.${i}.condition`) ? { condition: inputOf(c, `clip.${i}.condition`, 6) } : {}),
  }));
  const [steps, micros] = given[0]!.latents.shape as [number, number];
  for (const [i, clip] of given.entries())
    for (const [name, { shape }] of Object.entries(clip))
      if (shape[0] !== steps || shape[1] !== micros)
        throw new CogwheelError(
          "reference",
          `${c.name}: input.clip.${i}.${name} must have the steps and micro-steps of the first clip, [${steps}, ${micros}], ` +
            `got [${shape.join(", ")}]; make the case again`,
        );
  const ofs = c.inputs.get("ofs")?.data;
  const capacity = capacityFor(
    config,
    given.map(({ latents: { shape }, text }) => ({ frames: shape[2]!, height: shape[4]!, width: shape[5]!, text: text.shape[2]! })),
  );
  return {
    steps,
    micros,
    batch: (step, micro) => {
      const part = ({ data }: HostTensor): Float32Array => {
        const size = data.length / (steps * micros);
        return data.subarray((step * micros + micro) * size, (step * micros + micro + 1) * size);
      };
      const clips = given.map(({ latents, noise, timestep, text, condition }, i) => ({
        shape: latents.shape.slice(2) as [number, number, number, number],
        latents: part(latents),
        noise: part(noise),
        timestep: part(timestep)[0]!,
        text: part(text),
        ...(condition ? { condition: part(condition) } : {}),
        ...(ofs ? { ofs: ofs[i % ofs.length]! } : {}),
      }));
      return { capacity, clips, rope };
    },
  };
}

const trainTransformer: ReferenceModule = async (c, context) => {
  const options = new RunOptionsOfCase(c);
  const parsed = parseTransformerConfig(c.config, c.name);
  const rope = options.text("rope", ["prefix", "pipeline"]) === "prefix" ? "prefix" : "pipeline";
  const packed = options.number("clips");
  const clips = packed === undefined ? clipsOf(c, parsed) : packedClipsOf(c, parsed, packed, rope);
  const first = clips.batch(0, 0);
  // From the table's start: the grid that is cropped is the clip's own.
  const own = "shape" in first && rope === "prefix" && { sample_height: first.shape.height, sample_width: first.shape.width };
  const config = { ...parsed, ...own };
  const weights = context.weights();
  expectCaseWeights(c, weights, transformerWeights(config));
  const { name: _, ...scheduler } = (c.options["scheduler"] ?? {}) as Record<string, unknown>;
  const optimizer = torchOptimizer(options.group("optimizer"));
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
function adapterOf(c: ReferenceCase, options: RunOptionsOfCase): TrainedLora {
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
