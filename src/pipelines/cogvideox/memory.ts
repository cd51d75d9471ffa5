/** Whether a generation fits: refused before anything is loaded, where it is known how much there is. */
import { availableMemoryBytes } from "#platform";
import { CogwheelError } from "../../base/errors.ts";
import { bytesText } from "../../base/units.ts";
import { machineBytes, refuseBeyond, together } from "../requirements.ts";
import type { Model } from "./model.ts";
import type { PlannedStage } from "./stages.ts";

/**
 * Throws for stages that take more than a limit of the adapter's memory or, on what runs in the machine's memory, than is free. How much
 * memory a GPU has free WebGPU does not tell.
 */
export function refuseIfTooLarge({ gpu, dtype, parts }: Model, stages: readonly PlannedStage[], limit: number | undefined): void {
  const lighter = dtype === "f32" && gpu.caps.f16 ? "dtype f16" : undefined;
  // Parts that are kept lie beside each other; what of them is there already is no longer free.
  const all = stages.map(({ memory }) => memory);
  const most = (parts.keep ? [together(all)] : all).reduce((a, b) => (b.total > a.total ? b : a));
  if (limit !== undefined && most.total > limit)
    throw new CogwheelError(
      "generate",
      `the ${most.stage} takes ${bytesText(most.total)} of the adapter's memory (weights ${bytesText(most.weights)}, ` +
        `activations ${bytesText(most.activations + most.io + most.states)}), got a limit of ${bytesText(limit)} in memoryBytes; ` +
        `choose a smaller size${lighter ? `, fewer frames or ${lighter}` : " or fewer frames"}`,
    );
  const coming = parts.keep ? [together(stages.filter(({ part }) => !parts.has(part)).map(({ memory }) => memory))] : all;
  const worst = coming.reduce((a, b) => (machineBytes(b, gpu.caps) > machineBytes(a, gpu.caps) ? b : a));
  refuseBeyond(availableMemoryBytes(), "generate", `the ${worst.stage}`, worst, gpu.caps, lighter);
}
