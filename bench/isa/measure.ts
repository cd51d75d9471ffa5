/** Compiles the cases on a null device and counts. */
import { innerTrips } from "./cases.ts";
import { readIsa, type Isa } from "./count.ts";
import { compileOn, findRadv } from "./radv.ts";

export interface IsaRow {
  readonly case: string;
  readonly kernel: string;
  /** The variant, as pipelines are labelled. */
  readonly label: string;
  readonly isa: Isa;
}
export interface IsaResult {
  readonly adapter: string;
  readonly rows: readonly IsaRow[];
}

/** The rows, or what this machine lacks for them. */
export async function measureIsa(family: string, { peers = false } = {}): Promise<IsaResult | string> {
  const radv = findRadv();
  if (typeof radv === "string") return radv;
  const own = await compileOn(radv, family, "isa-compile.js", []);
  if (own.sections.length === 0) return `Mesa's RADV up to 25.x, whose null device Dawn opens; got none from ${radv.library} (RADV 26 has no null device)`;
  const rows: IsaRow[] = own.sections.map(({ head, text }) => {
    const [isa] = readIsa(text, innerTrips[head["kernel"]!]);
    if (!isa) throw new Error(`${head["label"]} must be compiled, got nothing from the driver: ${own.out}`);
    return { case: head["case"]!, kernel: head["kernel"]!, label: head["label"]!, isa };
  });
  const peer = peers ? await compileOn(radv, family, "isa-onnxruntime.js", []) : undefined;
  for (const { head, text } of peer?.sections ?? []) {
    // Of all that a peer compiles for a case, transfers and transposes too, the one with the most work in its loop.
    const work = ({ loop }: Isa): number => (loop ? loop.fma + 16 * loop.matrix : 0);
    const isa = readIsa(text).sort((a, b) => work(b) - work(a))[0];
    if (isa?.loop) rows.push({ case: head["case"]!, kernel: head["kernel"]!, label: head["label"]!, isa });
  }
  rows.sort((a, b) => a.case.localeCompare(b.case));
  return { adapter: (JSON.parse(own.out.split("\n")[0]!) as { adapter: string }).adapter, rows };
}
