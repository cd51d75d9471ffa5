/** Which kernels an adapter can run for the gradient of attention. */
import { CogwheelError } from "../../base/errors.ts";
import type { Capabilities } from "../../gpu/capabilities.ts";

/** `own`: rows of a workgroup, whose gradients it sums; `walk`: rows that it reads at a time; `rows`: own ones of a thread. */
export interface FlashTile {
  readonly name: "flash";
  readonly own: number;
  readonly walk: number;
  readonly rows: number;
}
export type GradientVariant = FlashTile;

const TILES = [
  [64, 32, 4],
  [32, 32, 4],
  [32, 32, 2],
  [32, 16, 2],
  [16, 16, 2],
  [8, 16, 1],
  [8, 8, 1],
] as const;

/** Every kernel that an adapter can run for a head width, the one that is taken without a measurement first. */
export function gradientCandidates(caps: Capabilities, d: number): GradientVariant[] {
  const bytes = (own: number, walk: number) => 4 * ((2 * own + walk) * (d + 4) + own * (walk + 4));
  const candidates = TILES.filter(([own, walk]) => bytes(own, walk) <= caps.maxWorkgroupBytes).map(
    ([own, walk, rows]) => ({ name: "flash", own, walk, rows }) as const,
  );
  if (candidates.length === 0)
    throw new CogwheelError(
      "attention_gradient",
      `head width ${d} needs ${bytes(8, 8)} bytes of workgroup memory, got ${caps.maxWorkgroupBytes} on this adapter; choose another`,
    );
  return candidates;
}
