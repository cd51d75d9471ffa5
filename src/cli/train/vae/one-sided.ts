/** What a run is told of where its losses have come to an end: a judge that is never wrong, a weight at its bound, steps that change nothing. */
import { ADAPTIVE_BOUNDS } from "../../../training/vae/losses.ts";
import type { VaeTrainingStep } from "../../../training/vae/options.ts";

/** So many steps in a row are told. */
export const MOST_ONE_SIDED = 200;
/** Steps in a row that were not finite are told sooner: nothing is learned in them. */
export const MOST_SKIPPED = 20;
const NO_LOSS = 1e-3;

interface Kind {
  readonly text: string;
  readonly after: number;
  readonly holds: (step: VaeTrainingStep) => boolean;
}

const KINDS: readonly Kind[] = [
  {
    text: "the discriminator's loss is 0: it tells clips apart always; lower discLr, or begin it later",
    after: MOST_ONE_SIDED,
    holds: ({ discriminator: turn, losses: { discriminator } }) => turn?.taken === true && discriminator! < NO_LOSS,
  },
  {
    text: "the adversarial loss has its largest weight: what it asks does not reach the decoder; lower disc, or begin it later",
    after: MOST_ONE_SIDED,
    holds: ({ losses: { lambda } }) => lambda !== undefined && lambda >= ADAPTIVE_BOUNDS.clamp,
  },
  {
    text: "the discriminator's loss or gradients are not finite, and it learns nothing; begin anew from a checkpoint with a lower discLr",
    after: MOST_SKIPPED,
    holds: ({ discriminator: turn }) => turn?.taken === false,
  },
  {
    text: "the VAE's gradients are not finite, and it learns nothing; begin anew from a checkpoint with a lower lr",
    after: MOST_SKIPPED,
    holds: ({ skipped }) => skipped,
  },
];

export class OneSided {
  /** Steps in a row, by kind. */
  readonly #counts = new Map<Kind, number>();

  /** What is to be told after a step: each once, when it has held for long. */
  told(step: VaeTrainingStep): string[] {
    return KINDS.flatMap((kind) => {
      const count = kind.holds(step) ? (this.#counts.get(kind) ?? 0) + 1 : 0;
      this.#counts.set(kind, count);
      return count === kind.after ? [`Since step ${step.step - kind.after + 1} ${kind.text}.`] : [];
    });
  }
}
