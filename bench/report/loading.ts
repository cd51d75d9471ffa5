/** The tables of loading: what the terminal, the report and the docs show. */
import { bytesText } from "../../src/base/units.ts";
import { table } from "../../src/cli/terminal/table.ts";
import type { LoadFigures, LoadRow } from "../load/measure.ts";
import type { Summary } from "../measure/statistics.ts";
import { percent } from "./figures.ts";
import type { BenchRecord } from "./record.ts";

export interface LoadTable {
  readonly title: string;
  readonly heads: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

const WAYS: readonly LoadRow["way"][] = ["read", "mapped ring", "writeBuffer", "mappedAtCreation", "engine"];
const rate = (r: Summary | undefined): string => (r ? `${r.median.toFixed(2)} ± ${percent(r.spread)}` : "–");

function loadTable(where: string, f: LoadFigures, cat: Summary | undefined): LoadTable {
  const places = [...new Set(f.rows.map(({ place }) => place))];
  return {
    title:
      `Loading in ${where}, ${f.adapter}: GB/s of ${bytesText(f.bytes)} from where they lie; ` +
      `beside it${cat ? ` cat ${rate(cat)},` : ""} a copy on the host ${rate(f.copies.host)}, on the device ${rate(f.copies.device)}`,
    heads: ["from", "read alone", "mapped ring", "writeBuffer", "mappedAtCreation", `the engine, into ${f.dtype} panels`],
    rows: places.map((place) => [place, ...WAYS.map((way) => rate(f.rows.find((r) => r.place === place && r.way === way)?.rate))]),
  };
}

export function loadTables({ node, chromium }: NonNullable<BenchRecord["loading"]>): LoadTable[] {
  return [
    ...(node ? [loadTable("Node", node, node.cat)] : []),
    ...(chromium ? [loadTable(`a worker of ${chromium.browser}`, chromium, undefined)] : []),
  ];
}

export const loadingText = (loading: NonNullable<BenchRecord["loading"]>): string =>
  loadTables(loading)
    .map(({ title, heads, rows }) => `\n${title}\n${table(heads, rows)}`)
    .join("\n");
