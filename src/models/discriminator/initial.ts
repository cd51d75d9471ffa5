/** What a discriminator begins with: as published ones are drawn. Isola et al. 2017, arXiv:1611.07004. */
import { elements } from "../../base/shape.ts";
import { type DiscriminatorConfig, discriminatorWeights, runningStatistics } from "./config.ts";

/**
 * Convolutions N(0, 0.02), batch norms' weights N(1, 0.02), biases as torch has them for a convolution: uniform in ±1/√fan-in; running
 * statistics of nothing yet.
 * @param normal draws so many normal values @param uniform draws so many values in 0…1
 */
export function initialDiscriminator(
  config: DiscriminatorConfig,
  normal: (count: number) => Float32Array,
  uniform: (count: number) => Float32Array,
): Map<string, Float32Array> {
  const shapes = discriminatorWeights(config);
  const values = new Map<string, Float32Array>();
  for (const [name, shape] of shapes) {
    const count = elements(shape);
    const kernel = shapes.get(name.replace(/bias$/, "weight"))!;
    if (name.endsWith(".weight"))
      values.set(
        name,
        normal(count).map((v) => (shape.length === 1 ? 1 : 0) + 0.02 * v),
      );
    else if (kernel.length === 1) values.set(name, new Float32Array(count));
    else {
      const bound = 1 / Math.sqrt(elements(kernel.slice(1)));
      values.set(
        name,
        uniform(count).map((v) => bound * (2 * v - 1)),
      );
    }
  }
  for (const [name, [channels]] of runningStatistics(config))
    values.set(name, new Float32Array(channels!).fill(name.endsWith("running_var") ? 1 : 0));
  return values;
}
