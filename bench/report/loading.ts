/** The tables of loading: what the terminal, the report and the docs show. */
import { bytesText } from "../../src/base/units.ts";
import { table } from "../../src/cli/terminal/table.ts";
import type { ComponentLoads } from "../load/component.ts";
import type { LoadFigures, LoadRow } from "../load/measure.ts";
import type { Streaming } from "../load/streaming.ts";
import type { Unpacking } from "../load/unpacking.ts";
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

const GOAL = 1.05;
/** Of a load over `cat` and a copy on the device: every byte is read once and written once, and wider types are converted. */
const LOAD_GOALS = { F16: 1.5, BF16: 1.7 };
const milliseconds = (m: Summary): string => `${m.median.toFixed(0)} ± ${percent(m.spread)}`;

function componentTable({ adapter, layers, dtype, rows }: ComponentLoads): LoadTable {
  return {
    title: `T5-XXL, ${layers} layers at full width, loaded as ${dtype} from files in the system's cache, ${adapter}: milliseconds`,
    heads: ["stored as", "size", "load", "cat", "a copy on the device", "load over both", "most besides the weights", "of resident memory"],
    rows: rows.map((r) => [
      r.stored,
      bytesText(r.bytes),
      milliseconds(r.load),
      milliseconds(r.cat),
      milliseconds(r.copy),
      `${r.ofSum.median.toFixed(2)} ± ${percent(r.ofSum.spread)} (≤ ${LOAD_GOALS[r.stored]})`,
      bytesText(r.besides),
      r.residentBesides === undefined ? "–" : bytesText(r.residentBesides),
    ]),
  };
}

function unpackTable({ adapter, shape, rows }: Unpacking): LoadTable {
  const types = [...new Set(rows.map(({ dtype }) => dtype))];
  const of = (format: string, dtype: string) => rows.find((r) => r.format === format && r.dtype === dtype);
  return {
    title:
      `Unpacking a matrix of ${shape.join(" × ")} into panels, ${adapter}: GB/s of what comes out, ` +
      "and its time over that of a copy of as many bytes",
    heads: ["stored as", "MB", ...types.flatMap((dtype) => [`into ${dtype}`, "× a copy"])],
    rows: [...new Set(rows.map(({ format }) => format))].map((format) => [
      format,
      ((of(format, types[0]!)?.stored ?? NaN) / 1e6).toFixed(1),
      ...types.flatMap((dtype) => [rate(of(format, dtype)?.rate), of(format, dtype)?.ofCopy.median.toFixed(2) ?? "–"]),
    ]),
  };
}

function streamTable(s: Streaming): LoadTable {
  return {
    title:
      `A denoising step of ${s.layers} layers of 2B's width, ${s.tokens} tokens, ${s.adapter}: milliseconds, ` +
      `${bytesText(s.bytes)} of layers streamed from files through ${s.slots} slots`,
    heads: ["resident", "streamed", "reading and unpacking alone", `streamed over the sum of both (≤ ${GOAL})`],
    rows: [
      [
        milliseconds(s.resident),
        milliseconds(s.streamed),
        milliseconds(s.alone),
        `${s.ofSum.median.toFixed(2)} ± ${percent(s.ofSum.spread)}`,
      ],
    ],
  };
}

export function loadTables({ node, chromium, unpacking, component, streaming }: NonNullable<BenchRecord["loading"]>): LoadTable[] {
  return [
    ...(node ? [loadTable("Node", node, node.cat)] : []),
    ...(chromium ? [loadTable(`a worker of ${chromium.browser}`, chromium, undefined)] : []),
    ...(unpacking ? [unpackTable(unpacking)] : []),
    ...(component ? [componentTable(component)] : []),
    ...(streaming ? [streamTable(streaming)] : []),
  ];
}

export const loadingText = (loading: NonNullable<BenchRecord["loading"]>): string =>
  loadTables(loading)
    .map(({ title, heads, rows }) => `\n${title}\n${table(heads, rows)}`)
    .join("\n");
