/** Whole pipelines without their text encoder, from given embeddings and draws to latents and frames: run by what users run. */
import { brief } from "../../../base/brief.ts";
import { CogwheelError } from "../../../base/errors.ts";
import type { Family, RecordedRun } from "../../../pipelines/family.ts";
import { families } from "../../../pipelines/families.ts";
import { inputOf } from "../case.ts";
import type { ModuleContext, ReferenceModule } from "../module.ts";
import type { ReferenceCase } from "../reference-case.ts";
import { loraScales } from "./loras.ts";

const pipeline =
  ({ replay }: Family): ReferenceModule =>
  async (c, context) => {
    const { latents, frames, steps } = await replay(recordedRun(c, context), context);
    const forced = Object.entries(steps).map(([name, tensor]) => [`step.${name}`, tensor] as const);
    return { latents, frames, ...Object.fromEntries(forced) };
  };

function recordedRun(c: ReferenceCase, context: ModuleContext): RecordedRun {
  const scales = loraScales(c);
  return {
    name: c.name,
    className: c.module,
    config: (component) => {
      const value = c.config[component];
      if (typeof value !== "object" || value === null)
        throw new CogwheelError(
          "reference",
          `${c.name}: config.${component} must be an object, got ${JSON.stringify(value)}; regenerate the case`,
        );
      return value as Record<string, unknown>;
    },
    option<T extends number | boolean>(name: string, missing: T) {
      const value = c.options[name] ?? missing;
      if (typeof value !== typeof missing)
        throw new CogwheelError("reference", `${c.name}: options.${name} must be a ${typeof missing}, got ${brief(value)}; correct it`);
      return value as T extends number ? number : boolean;
    },
    input: (name, axes) => inputOf(c, name, axes),
    loras: c.loras.map((tensors, i) => ({ tensors, label: `${c.name}: lora.${i}`, scale: scales[i]! })),
    steps: c.steps,
    weights: (component) => context.weights(`${component}.`),
  };
}

export const pipelineModules: Record<string, ReferenceModule> = Object.fromEntries(
  families.flatMap((family) => family.recorded.map((className) => [className, pipeline(family)])),
);
