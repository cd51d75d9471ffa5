/** Kernels that normalise rows, by adapter and width: those of layer_norm, its gradient and rms_norm. */
import type { Capabilities } from "../../gpu/capabilities.ts";

export type RowNormVariant = { name: "subgroup"; wg: number } | { name: "row"; wg: number; per: number };

/**
 * Every kernel of layer_norm and rms_norm that an adapter can run for rows of `d` columns, the one that is taken without a
 * measurement first: on CPU adapters the one without barriers; on GPUs a workgroup for a row, with as many threads as leave each at
 * most 4 vectors to hold.
 */
export function rowNormCandidates(caps: Capabilities, d: number): RowNormVariant[] {
  const lanes = caps.subgroups;
  const vectors = d / 4;
  const row = (wg: number): RowNormVariant => ({ name: "row", wg, per: Math.ceil(vectors / wg) });
  const sizes = [64, 128, 256].filter((wg) => wg <= caps.maxWorkgroupInvocations);
  const first = sizes.find((wg) => vectors <= 4 * wg) ?? sizes.at(-1)!;
  return [
    ...(caps.kind === "software" && lanes && lanes.min === lanes.max ? [{ name: "subgroup", wg: lanes.max } as const] : []),
    ...[first, ...sizes.filter((wg) => wg !== first && wg <= 2 * vectors)].map(row),
  ];
}
