/** Whether a generation fits: refused before anything is loaded, where it is known how much there is. */
import { availableMemoryBytes } from "#platform";
import { CogwheelError } from "../../base/errors.ts";
import { bytesText } from "../../base/units.ts";
import { machineBytes, refuseBeyond, together } from "../requirements.ts";
import type { Model } from "./model.ts";
import type { Planned } from "./planner.ts";
import type { PlannedStage } from "./stages.ts";

/** The smallest limit within which all of these stages can be planned. */
export const leastBytes = (stages: readonly PlannedStage[]): number => Math.max(...stages.map(({ least }) => least()));

/** Of what an adapter had no room for. */
const LESS = 0.9;
/** Of what a plan takes: where it is not known how far it came, and so that one that came far is made smaller too. */
const MUCH_LESS = 0.75;

/**
 * The limit for a generation that ran out of memory when `allocated` bytes were asked for in all; undefined where nothing smaller could be
 * planned. What else fills the adapter's memory is unknown, so that it may have to be lowered again.
 */
export function lowerLimit(stages: readonly PlannedStage[], allocated: number): number | undefined {
  const peak = Math.max(...stages.map(({ memory }) => memory.peak));
  const least = leastBytes(stages);
  const limit = Math.floor(Math.min(MUCH_LESS * peak, Math.max(LESS * allocated, (MUCH_LESS * peak) / 2)));
  return peak <= least ? undefined : Math.max(least, limit);
}

/** As a text that is read as no less. */
const atLeast = (bytes: number): string => `${(Math.ceil(bytes / 1e5) / 10).toFixed(1)} MB`;

/**
 * Throws for stages that take more than the limit that they were planned for or, on what runs in the machine's memory, than is free. How
 * much memory a GPU has free WebGPU does not tell.
 */
export function refuseIfTooLarge({ gpu, dtype, parts }: Model, { stages, limit }: Planned): void {
  const lighter = dtype === "f32" && gpu.caps.f16 ? "dtype f16" : undefined;
  // Parts that are kept lie beside each other; what of them is there already is no longer free.
  const all = stages.map(({ memory }) => memory);
  const most = (parts.keep ? [together(all)] : all).reduce((a, b) => (b.peak > a.peak ? b : a));
  const alone = parts.keep && all.every(({ peak }) => peak <= limit!);
  if (limit !== undefined && most.peak > limit)
    throw new CogwheelError(
      "generate",
      `the ${most.stage} takes ${bytesText(most.peak, 1)} of the adapter's memory (weights ${bytesText(most.weights, 1)}, ` +
        `activations ${bytesText(most.activations + most.io + most.states, 1)}), got a limit of ${bytesText(limit, 1)} in memoryBytes; ` +
        (alone
          ? "leave out keep, so that one part is there at a time"
          : `the smallest that would do is ${atLeast(leastBytes(stages))}, or ` +
            `choose a smaller size${lighter ? `, fewer frames or ${lighter}` : " or fewer frames"}`),
      { code: "out-of-memory" },
    );
  const coming = parts.keep ? [together(stages.filter(({ part }) => !parts.has(part)).map(({ memory }) => memory))] : all;
  const worst = coming.reduce((a, b) => (machineBytes(b, gpu.caps) > machineBytes(a, gpu.caps) ? b : a));
  refuseBeyond(availableMemoryBytes(), "generate", `the ${worst.stage}`, worst, gpu.caps, lighter);
}
