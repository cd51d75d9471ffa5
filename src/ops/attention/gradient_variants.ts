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
/** Kernels for CPU adapters of `wg` lanes, which read what they walk turned round too. */
export interface OctetTile {
  readonly name: "octet";
  readonly own: number;
  readonly wg: number;
}
/** Subgroup matrices; constants of attention_dq_subgroup_matrix and attention_dkv_subgroup_matrix. */
export interface GradientMatrices {
  readonly name: "subgroup_matrix";
  readonly own: number;
  readonly consts: {
    readonly MM: number;
    readonly NN: number;
    readonly KK: number;
    readonly SUBGROUP: number;
    readonly SGS: number;
    readonly SM: number;
    readonly D: number;
    readonly BK: number;
  };
}
export type GradientVariant = FlashTile | OctetTile | GradientMatrices;

const TILES = [
  [64, 32, 4],
  [32, 32, 4],
  [32, 32, 2],
  [32, 16, 2],
  [16, 16, 2],
  [8, 16, 1],
  [8, 8, 1],
] as const;

/** The widest head whose own rows and sums the registers hold as matrices, with those of scores. */
const WIDEST = 64;

/** As many subgroups, up to four, as the workgroup memory holds; sixteen rows each, or as many as it has lanes. */
function gradientMatrices(caps: Capabilities, d: number): GradientMatrices | undefined {
  const lanes = caps.subgroups?.max ?? 0;
  const odd = (n: number) => n + 1 - (n % 2);
  for (const { m, n, k } of caps.subgroupMatrices) {
    if (d % k || d % n || d % 8 || d > WIDEST) continue;
    const SM = m === 8 && lanes >= 16 ? 2 : 1;
    const BK = 32;
    for (const SGS of [4, 2, 1]) {
      const own = SGS * SM * m;
      const values = Math.max(own * (BK / 4 + 1), own * odd(d / 8), SGS * m * (n / 4 + 1));
      // Of the kernel that needs more: dk and dv turn two operands round, and keep two numbers of each walked row.
      const words = 2 * (values + BK * odd(d / 8)) + d * odd(BK / 4) + BK / 2;
      const fits = SGS * lanes <= caps.maxWorkgroupInvocations && 16 * words <= caps.maxWorkgroupBytes;
      if (lanes < SM * m || BK / 8 < lanes / (SM * m) || !fits) continue;
      return { name: "subgroup_matrix", own, consts: { MM: m, NN: n, KK: k, SUBGROUP: lanes, SGS, SM, D: d, BK } };
    }
  }
  return undefined;
}

/** Every kernel that an adapter can run for a head width, the one that is taken without a measurement first. `half`: q, k, v are f16. */
export function gradientCandidates(caps: Capabilities, d: number, half: boolean): GradientVariant[] {
  const bytes = (own: number, walk: number) => 4 * ((2 * own + walk) * (d + 4) + own * (walk + 4));
  const lanes = caps.kind === "software" ? (caps.subgroups?.min ?? 0) : 0;
  const wg = caps.subgroups?.max ?? 0;
  // Four rows a thread of a wider head are more sums than there are registers.
  const tiles = TILES.filter(([own, walk, rows]) => bytes(own, walk) <= caps.maxWorkgroupBytes && (d <= 64 || rows < 4));
  const matrix = half ? gradientMatrices(caps, d) : undefined;
  const candidates: GradientVariant[] = [
    ...(lanes >= 8 ? [{ name: "octet", own: 4 * wg, wg } as const] : []),
    ...(matrix ? [matrix] : []),
    ...tiles.map(([own, walk, rows]) => ({ name: "flash", own, walk, rows }) as const),
  ];
  if (candidates.length === 0)
    throw new CogwheelError(
      "attention_gradient",
      `head width ${d} needs ${bytes(8, 8)} bytes of workgroup memory, got ${caps.maxWorkgroupBytes} on this adapter; choose another`,
    );
  return candidates;
}
