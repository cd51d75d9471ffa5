/** `--preset`: fewer steps for a look, more for the result. */

/** Of the model's own steps. */
const FACTORS = { draft: 0.4, quality: 2 } as const;
export type Preset = keyof typeof FACTORS;
export const PRESETS = Object.keys(FACTORS) as Preset[];

export const presetSteps = (preset: Preset, own: number): number => Math.max(1, Math.round(FACTORS[preset] * own));
