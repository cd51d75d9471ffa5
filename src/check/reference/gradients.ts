/** How near the gradients of a case must be to the reference's, by name. */
import { brief } from "../../base/brief.ts";
import { CogwheelError } from "../../base/errors.ts";
import { compareTensors, type Comparison, type Threshold } from "./compare.ts";
import type { HostTensor, ReferenceCase } from "./reference-case.ts";

/** Whole models, in which roundings add up over layers. Parts of them are held to a tenth of that. */
const WHOLE = new Set([
  "CogVideoXTransformer3DModel",
  "AutoencoderKLCogVideoX.encode",
  "AutoencoderKLCogVideoX.decode",
  "NLayerDiscriminator3D",
  "NLayerDiscriminator3D.jvp",
]);

/** Below this part of the largest gradient's norm a gradient is what rounding leaves of sums that cancel out. */
const NEGLIGIBLE = 1e-6;

/**
 * Each of the case's gradients, held against what `got` has under `grad.<name>`. With f16 storage the limit is three times the error of
 * torch's own float16 autograd, where the case tells it (option `torch_f16`), and never less than that of f32.
 */
export function compareGradients(c: ReferenceCase, got: Readonly<Record<string, HostTensor>>, dtype: "f32" | "f16"): Comparison[] {
  const torch = errorsOf(c, "torch_f16");
  const exact = WHOLE.has(c.module) ? 1e-4 : 1e-5;
  const norms = new Map([...c.gradients].map(([name, { data }]) => [name, norm(data)]));
  const largest = Math.max(...norms.values());
  return [...c.gradients].map(([name, want]) => {
    const told = torch.get(name);
    const limit = dtype === "f32" ? exact : told === undefined ? 1e-2 : Math.max(exact, 3 * told);
    const threshold: Threshold =
      norms.get(name)! < NEGLIGIBLE * largest ? { measure: "L2 of largest", limit, norm: largest } : { measure: "relative L2", limit };
    return compareTensors(`grad.${name}`, got[`grad.${name}`], want, threshold);
  });
}

/** An option that tells an error of the reference by a tensor's name. */
export function errorsOf(c: ReferenceCase, option: string): ReadonlyMap<string, number> {
  const told = c.options[option] ?? {};
  const entries = typeof told === "object" && told !== null && !Array.isArray(told) ? Object.entries(told) : [["", null]];
  const wrong = entries.find(([, error]) => typeof error !== "number" || !(error >= 0 && Number.isFinite(error)));
  if (wrong)
    throw new CogwheelError(
      "reference",
      `${c.name}: options.${option} must tell an error from 0 by a tensor's name, got ${brief(told)}; correct it`,
    );
  return new Map(entries.map(([name, error]) => [(name as string).replace(/^grad\./, ""), error as number]));
}

/** ‖data‖₂ */
export const norm = (data: Float32Array): number => Math.sqrt(data.reduce((sum, value) => sum + value * value, 0));
