/** How near a training run must come to the reference's: losses and norms at every step, tensors by how they changed. */
import { CogwheelError } from "../../base/errors.ts";
import { compareTensors, type Comparison, type Threshold } from "./compare.ts";
import { errorsOf, norm } from "./gradients.ts";
import type { HostTensor, ReferenceCase } from "./reference-case.ts";

/** Modules of the format that are training runs. */
export const isTraining = (module: string): boolean => module.startsWith("train.");

/** Outputs that have a value a step; all others are tensors after the last one. */
const PER_STEP = new Set(["loss", "grad_norm", "rec", "kl", "generator", "discriminator", "penalty"]);

/**
 * Each of the case's outputs, held against `got`. A tensor's change is judged against three times torch's own error in it, where the case
 * tells that (option `torch_f32`). Tensors of the option `zero_gradient` are not judged, for Adam makes whole steps of a gradient that is
 * nothing but rounding; nor are any with f16 storage. Losses are then judged against three times torch's own error in them with that
 * storage, where the case tells it (option `torch_f16`) and it is more than the limit.
 */
export function compareTraining(c: ReferenceCase, got: Readonly<Record<string, HostTensor>>, dtype: "f32" | "f16"): Comparison[] {
  const torch = errorsOf(c, "torch_f32");
  const half = errorsOf(c, "torch_f16");
  const negligible = negligibleOutputs(c);
  return [...c.outputs].map(([name, want]) => {
    const each: Threshold = { measure: "each relative", limit: dtype === "f32" ? 1e-4 : Math.max(1e-2, 3 * (half.get(name) ?? 0)) };
    if (PER_STEP.has(name)) return compareTensors(name, got[name], want, each);
    if (dtype === "f16" || negligible.has(name)) return compareTensors(name, got[name], want, { measure: "not judged", limit: 0 });
    const told =
      namesOf(c, name)
        .map((n) => torch.get(n))
        .find((error) => error !== undefined) ?? 0;
    const limit = Math.max(1e-3, 3 * told);
    const change = norm(difference(want, startOf(c, name)));
    return compareTensors(
      name,
      got[name],
      want,
      change > 0 ? { measure: "L2 of change", limit, norm: change } : { measure: "max abs", limit },
    );
  });
}

/** Outputs that are a tensor of the option `zero_gradient`, or the average of one: each adapter's own rounding. */
export function negligibleOutputs(c: ReferenceCase): ReadonlySet<string> {
  const listed = c.options["zero_gradient"] ?? [];
  if (!Array.isArray(listed))
    throw new CogwheelError("reference", `${c.name}: options.zero_gradient must be a list of names, got ${typeof listed}; correct it`);
  return new Set([...c.outputs.keys()].filter((name) => namesOf(c, name).some((n) => listed.includes(n))));
}

/** What the options may call an output: by its own name and by that of the tensor that it is of, both without `weight.`. */
const namesOf = (c: ReferenceCase, output: string): string[] =>
  [output, trainedTensor(c, output)].flatMap((name) => (name === undefined ? [] : [name.replace(/^weight\./, "")]));

/**
 * Which of the case's own tensors an output is of, as `weight.<name>` or `lora.<i>.<key>`: a trained tensor, or as `ema.<…>` the average of
 * one, which may leave out `weight.` or `lora.<i>.`.
 */
export function trainedTensor(c: ReferenceCase, output: string): string | undefined {
  const [, average, name] = /^(ema\.)?(.+)$/s.exec(output)!;
  const [, index, key] = /^lora\.(\d+)\.(.+)$/s.exec(name!) ?? [];
  if (index !== undefined) return c.loras[Number(index)]?.has(key!) ? name : undefined;
  const weight = name!.replace(/^weight\./, "");
  if (c.weights.has(weight)) return `weight.${weight}`;
  const lora = average ? c.loras.findIndex((tensors) => tensors.has(name!)) : -1;
  return lora < 0 ? undefined : `lora.${lora}.${name}`;
}

function startOf(c: ReferenceCase, output: string): HostTensor | undefined {
  const name = trainedTensor(c, output);
  const [, index, key] = /^lora\.(\d+)\.(.+)$/s.exec(name ?? "") ?? [];
  return index === undefined ? c.weights.get(name?.replace(/^weight\./, "") ?? "") : c.loras[Number(index)]?.get(key!);
}

const difference = ({ data }: HostTensor, from: HostTensor | undefined): Float32Array =>
  data.map((value, i) => value - (from?.data[i] ?? 0));
