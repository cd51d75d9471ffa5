/** `--preset`: fewer steps for a look, more for the result; whatever is given by itself stays as it is given. */
import { CogwheelError } from "../../base/errors.ts";
import type { Settings } from "../../pipelines/settings.ts";
import type { Asked } from "./asked.ts";

/** Of the model's own steps. */
const FACTORS = { draft: 0.4, quality: 2 } as const;
export type Preset = keyof typeof FACTORS;
export const PRESETS = Object.keys(FACTORS) as Preset[];

export function withPreset(asked: Asked, { steps }: Pick<Settings, "steps">): Asked {
  const { preset } = asked.own;
  if (!preset) return asked;
  const { timesteps } = asked.given;
  const other = asked.saved ? "--latents" : timesteps ? "--timesteps" : undefined;
  if (other)
    throw new CogwheelError("generate", `--preset says how many steps are made, got --preset ${preset} and ${other}; leave one out`);
  return { ...asked, given: { steps: Math.max(1, Math.round(FACTORS[preset] * steps)), ...asked.given } };
}
