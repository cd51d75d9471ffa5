/** Kernels that take a head's channels of a token at a time, by adapter and width: qk_norm_rope and its gradient. */
import type { Capabilities } from "../../gpu/capabilities.ts";

/** `items`: tokens of a head that a workgroup takes. */
export type HeadVariant = { name: "subgroup"; items: number; wg: number } | { name: "head"; items: number };

/**
 * Every kernel that an adapter can run for heads of `d`, the one that is taken without a measurement first: on CPU adapters the one
 * without barriers, as far as its lanes hold a head; on GPUs as many heads as fill a workgroup of 64.
 */
export function headCandidates(caps: Capabilities, d: number): HeadVariant[] {
  const lanes = caps.subgroups;
  const items = Math.max(1, Math.floor(256 / d));
  return [
    ...(caps.kind === "software" && lanes && lanes.min === lanes.max && d <= 16 * lanes.max
      ? [{ name: "subgroup", items: 4, wg: lanes.max } as const]
      : []),
    ...[items, 2 * items, 4 * items]
      .filter((n) => (n * d) / 4 <= caps.maxWorkgroupInvocations)
      .map((n) => ({ name: "head", items: n }) as const),
  ];
}
