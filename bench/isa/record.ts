/** What `npm run bench:isa` keeps: bench/results/isa.json. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { PEER, sorted, type IsaRow } from "./measure.ts";

export interface IsaRecord {
  readonly date: string;
  readonly family: string;
  /** The driver and its version. */
  readonly adapter: string;
  /** Where the peer's rows are from, which may be an earlier run. */
  readonly onnxruntime?: { readonly version: string; readonly date: string; readonly adapter: string };
  readonly rows: readonly IsaRow[];
}

export function readIsaRecord(file: string): IsaRecord | undefined {
  return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as IsaRecord) : undefined;
}

/** A line a row, so that a comparison of two records shows the kernels that changed. */
export function writeIsaRecord(file: string, { rows, ...head }: IsaRecord): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(
    file,
    `${JSON.stringify(head, null, 1).slice(0, -2)},\n "rows": [\n${rows.map((row) => `  ${JSON.stringify(row)}`).join(",\n")}\n ]\n}\n`,
  );
}

/** A record without rows of the peer gets those of an earlier one for the same GPU: a machine without the peer takes nothing away. */
export function keepingPeer(record: IsaRecord, earlier: IsaRecord | undefined): IsaRecord {
  const kept = earlier?.family === record.family && earlier.onnxruntime ? earlier.rows.filter((row) => row.kernel === PEER) : [];
  if (kept.length === 0 || record.rows.some((row) => row.kernel === PEER)) return record;
  const { rows, ...head } = record;
  return { ...head, onnxruntime: earlier!.onnxruntime!, rows: sorted([...rows, ...kept]) };
}
