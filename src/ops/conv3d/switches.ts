/** The switches of conv3d's kernels: one table of what turns each on, from which a dispatch's bits are made. */
import { type conv3dOctet, conv3dTiled } from "#kernels";
import type { SharedConst } from "../../gpu/kernel.ts";
import type { ConvAttrs, upsampleMode } from "./geometry.ts";

/** What the kernels' switches of one dispatch follow from. */
interface Switched {
  readonly attrs: ConvAttrs;
  readonly bias: boolean;
  /** Is there something to add: the residual, or partial sums in memory of their own? */
  readonly added: boolean;
  /** Are there partial sums in y itself? */
  readonly begun: boolean;
  /** The first and the last step over taps? */
  readonly first: boolean;
  readonly last: boolean;
  readonly mode: ReturnType<typeof upsampleMode>;
}

/**
 * Every switch that the kernels share (kernels/shared/conv3d.wgsl), and when it is on. A new one is a bit there, a line here and a case of
 * the sweep; one that is missing here or there does not compile.
 */
const SWITCHES: Readonly<Record<SharedConst<typeof conv3dTiled, typeof conv3dOctet>, (step: Switched) => boolean>> = {
  BIAS: ({ bias, first }) => bias && first,
  RESIDUAL: ({ added }) => added,
  SILU: ({ attrs, last }) => attrs.activation === "silu" && last,
  ACCUMULATE: ({ begun }) => begun,
  REPLICATE: ({ attrs }) => attrs.replicate,
  DOUBLED: ({ attrs }) => attrs.upsample !== null,
  DOUBLED_FRAMES: ({ mode }) => mode !== 0,
  FIRST_APART: ({ mode }) => mode === 2,
};

/** The bits of the switches that are on. */
export const switchBits = (step: Switched): number =>
  Object.entries(SWITCHES).reduce((bits, [name, on]) => bits | (on(step) ? conv3dTiled.consts[name as keyof typeof SWITCHES] : 0), 0);
