/** Compiles the cases on a null device and counts. */
import type { Size } from "../../src/check/sweep/case.ts";
import { SIZES } from "../../src/check/sweep/matrix.ts";
import { innerTrips } from "./cases.ts";
import { readIsa, type Isa } from "./count.ts";
import { compileOn, findRadv } from "./radv.ts";

export const PEER = "ONNX Runtime";

export interface IsaRow {
  /** `case`: a heavy op at the shape of a published model · `list`: a case of the ops' own lists, the first that takes this variant. */
  readonly of: "case" | "list";
  readonly case: string;
  readonly kernel: string;
  /** The variant, as pipelines are labelled. */
  readonly label: string;
  /** Its loop only where it multiplies matrices. */
  readonly isa: Isa;
}
export interface IsaResult {
  readonly adapter: string;
  readonly rows: readonly IsaRow[];
}

/** Kernels whose hot loop is nothing but multiply-adds and what feeds them. */
const multiplies = (kernel: string): boolean =>
  /^(matmul|conv3d|attention)_/.test(kernel) && !/^conv3d_(fold|turn_weight|weight_sums)$/.test(kernel);

/** The rows, or what this machine lacks for them. `sizes`: of the ops' own cases. */
export async function measureIsa(
  family: string,
  { peers = false, sizes = SIZES }: { peers?: boolean; sizes?: readonly Size[] } = {},
): Promise<IsaResult | string> {
  const radv = findRadv();
  if (typeof radv === "string") return radv;
  const own = await compileOn(radv, family, "isa-compile.js", sizes);
  if (own.sections.length === 0)
    return `Mesa's RADV up to 25.x, whose null device Dawn opens; got none from ${radv.library} (RADV 26 has no null device)`;
  const rows: IsaRow[] = own.sections.map(({ head: { of, case: name, kernel, label }, text }) => {
    const listed = of === "list";
    const [isa] = readIsa(text, listed ? [] : innerTrips[kernel!]);
    if (!isa) throw new Error(`${label} must be compiled, got nothing from the driver: ${text.trim().split("\n").slice(0, 20).join("\n")}`);
    return {
      of: listed ? "list" : "case",
      case: name!,
      kernel: kernel!,
      label: label!,
      isa: multiplies(kernel!) ? isa : { ...isa, loop: null },
    };
  });
  if (own.code !== 0)
    throw new Error(
      `all kernels must be compiled, got an end with code ${own.code} after ${rows.at(-1)?.label}: ` +
        `${own.sections.at(-1)?.text.trim().split("\n").slice(-12).join("\n")}`,
    );
  const peer = peers ? await compileOn(radv, family, "isa-onnxruntime.js") : undefined;
  for (const { head, text } of peer?.sections ?? []) {
    // Of all that a peer compiles for a case, transfers and transposes too, the one with the most work in its loop.
    const work = ({ loop }: Isa): number => (loop ? loop.fma + 16 * loop.matrix : 0);
    const isa = readIsa(text).sort((a, b) => work(b) - work(a))[0];
    if (isa?.loop) rows.push({ of: "case", case: head["case"]!, kernel: PEER, label: head["label"]!, isa });
  }
  return { adapter: (JSON.parse(own.out.split("\n")[0]!) as { adapter: string }).adapter, rows: sorted(rows) };
}

/** Heavy cases first, by name, the peer's after ours; then kernel by kernel. */
export const sorted = (rows: readonly IsaRow[]): IsaRow[] =>
  [...rows].sort(
    (a, b) =>
      a.of.localeCompare(b.of) ||
      (a.of === "case"
        ? a.case.localeCompare(b.case) || +(a.kernel === PEER) - +(b.kernel === PEER)
        : a.kernel.localeCompare(b.kernel) || a.label.localeCompare(b.label)),
  );

export interface KernelSummary {
  readonly kernel: string;
  readonly variants: number;
  /** The most of any variant, and the fewest waves. */
  readonly vgprs: number;
  readonly spills: number;
  readonly scratchBytes: number;
  readonly ldsBytes: number;
  readonly waves: number;
  /** The variant with the fewest waves. */
  readonly fewest: string;
}

/** Ours, kernel by kernel: what its variants come to at worst. */
export function byKernel(rows: readonly IsaRow[]): KernelSummary[] {
  const groups = new Map<string, IsaRow[]>();
  for (const row of rows) if (row.kernel !== PEER) groups.set(row.kernel, [...(groups.get(row.kernel) ?? []), row]);
  return [...groups]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([kernel, variants]) => {
      const most = (key: "vgprs" | "spills" | "scratchBytes" | "ldsBytes"): number =>
        Math.max(...variants.map((row) => row.isa.stats[key]));
      const fewest = variants.reduce((least, row) => (row.isa.stats.waves < least.isa.stats.waves ? row : least));
      return {
        kernel,
        variants: variants.length,
        vgprs: most("vgprs"),
        spills: most("spills"),
        scratchBytes: most("scratchBytes"),
        ldsBytes: most("ldsBytes"),
        waves: fewest.isa.stats.waves,
        fewest: fewest.label,
      };
    });
}
