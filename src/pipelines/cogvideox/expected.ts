/** What the parts of a generation are expected to take, for its overall progress: a chunk that loads where somebody listens. */
import { Overall, type ExpectedPart } from "../overall.ts";
import type { GenerationRequest } from "./request.ts";
import { loadingSeconds, STAGE_NAMES, stageTimes, workingSeconds } from "./seconds.ts";

/** Operations in the time that a byte of weights takes to come, where nobody has measured: a CPU adapter's, and a GPU's. */
const FLOPS_PER_BYTE = { software: 200, hardware: 10_000 };

export function overallOf(request: GenerationRequest): Overall {
  const { parts, known } = expectedParts(request);
  return new Overall(parts, known);
}

/** In seconds where rates were measured (`known`), else by operations and bytes. */
function expectedParts({ model, plan, tiling, options, requirements }: GenerationRequest): {
  parts: readonly ExpectedPart[];
  known: boolean;
} {
  const { stages, sizes } = plan;
  const first = plan.given?.step ?? 0;
  const runs = { steps: plan.steps.length - first, samples: options.samples ?? 1 };
  const from = first / plan.steps.length;
  const part = (stage: ExpectedPart["stage"], weight: number): ExpectedPart => ({
    stage,
    weight,
    ...(stage === "denoise" ? { from } : {}),
  });
  if (model.rates) {
    const times = stageTimes(model, { tiling, stages }, sizes, runs, model.rates);
    return {
      known: true,
      parts: times.flatMap((time) => [part(time.names[0], loadingSeconds(time)), part(time.names[1], workingSeconds(time))]),
    };
  }
  const perByte = FLOPS_PER_BYTE[model.gpu.caps.kind];
  return {
    known: false,
    parts: stages.flatMap(({ stage }, i) => {
      const { weights, flops } = requirements[i]!;
      const times = stage === "transformer" ? runs.steps : stage === "decoder" ? runs.samples : 1;
      const [load, work] = STAGE_NAMES[stage];
      return [part(load, weights * perByte), part(work, flops * times)];
    }),
  };
}
