/**
 * `validate --report FILE.html`: what cases came to, and the worst output to look at: what the engine gave, the reference, and their
 * difference side by side; errors by step and by layer where a case records them.
 */
import { escaped } from "../base/html.ts";
import type { Comparison } from "../check/reference/compare.ts";
import { limitOf } from "../check/reference/compare.ts";
import type { HostTensor, ReferenceCase } from "../check/reference/reference-case.ts";
import type { CaseResult } from "../check/reference/run.ts";
import { encodeVideo } from "../video/encode.ts";
import { versions } from "./machine.ts";
import { chart, picture, runPage, type Line } from "./report/page.ts";

/** What cases came to. */
export interface Validated {
  readonly adapter: string;
  readonly dtype: "f32" | "f16";
  readonly summary: { readonly pass: number; readonly fail: number; readonly unsupported: number; readonly cannotBeRun: number };
  readonly cases: readonly CaseResult[];
}

/** Of a picture's side, at most: what is larger is shown by blocks. */
const MOST_PIXELS = 256;
/** Below this an error is shown as none, on the logarithmic axis. */
const LEAST = 1e-12;

interface Seen {
  readonly name: string;
  readonly comparison: Comparison;
  readonly got: HostTensor;
  readonly want: HostTensor;
}

/** How much of its limit an output takes; what has no figure takes more than any. */
const rank = ({ judged, threshold, note }: Comparison): number =>
  note !== undefined || Number.isNaN(judged) ? Infinity : threshold > 0 ? judged / threshold : judged > 0 ? Infinity : 0;

/** Keeps the worst output of all cases, with its values. */
export class ValidateReport {
  #worst: Seen | undefined;
  readonly #got = new Map<string, HostTensor>();

  /** For `runCase`'s `onOutput`. */
  readonly onOutput = (name: string, got: HostTensor): void => void this.#got.set(name, got);

  /** A case is over. */
  judged(c: ReferenceCase, { name, outputs }: CaseResult): void {
    for (const comparison of outputs) {
      const got = this.#got.get(comparison.output);
      const want = c.outputs.get(comparison.output);
      if (got && want && got.shape.join() === want.shape.join() && !(this.#worst && rank(comparison) <= rank(this.#worst.comparison)))
        this.#worst = { name, comparison, got, want };
    }
    this.#got.clear();
  }

  async page({ adapter, dtype, summary, cases }: Validated): Promise<string> {
    const { cogwheel, node } = versions();
    return runPage({
      title: `${summary.pass} of ${cases.length} reference cases pass`,
      facts: {
        adapter: `${adapter}, ${dtype}`,
        fail: String(summary.fail),
        unsupported: String(summary.unsupported),
        "cannot be run": String(summary.cannotBeRun),
        versions: `cogwheel ${cogwheel}, node ${node}`,
      },
      charts: cases.flatMap(chartsOf),
      above: this.#worst ? await pictures(this.#worst) : "",
      below: table(cases),
    });
  }
}

/** Errors along a case, as powers of ten, with the limit. */
function chartsOf({ name, steps, trace }: CaseResult): string[] {
  const log = (value: number | null): number => Math.log10(Math.max(LEAST, value ?? LEAST));
  const line = (comparisons: readonly Comparison[]): readonly [Line, Line] => [
    { name: "relative L2", points: comparisons.map((c, i) => [i + 1, log(c.relativeL2)]) },
    { name: "limit", points: comparisons.map((c, i) => [i + 1, log(c.threshold)]) },
  ];
  const draw = (what: string, comparisons: readonly Comparison[], of = ""): string =>
    chart(`${name}${of ? `, ${of}` : ""}: log10 of the relative L2 by ${what}`, line(comparisons), {
      most: comparisons.length,
      unit: `${what} ${comparisons.length}`,
      marks: [],
    });
  const outputs = [...new Set(steps?.map(({ output }) => output) ?? [])];
  return [
    ...outputs.map((output) =>
      draw(
        "step",
        steps!.filter((step) => step.output === output),
        output.replace(/^step\./, ""),
      ),
    ),
    ...(trace?.rows.length
      ? [
          draw(
            "layer",
            trace.rows.map((row) => ({ ...row, output: row.module })),
          ),
        ]
      : []),
  ];
}

function table(cases: readonly CaseResult[]): string {
  const figure = (value: number | null): string => (value === null || Number.isNaN(value) ? "–" : value.toExponential(2));
  const rows = cases.flatMap(({ name, outputs, verdict, error }) =>
    (outputs.length ? outputs : [undefined]).map((o) =>
      [
        name,
        o?.output ?? "–",
        o ? figure(o.maxAbs) : "–",
        o ? figure(o.relativeL2) : "–",
        o ? limitOf(o) : (error ?? ""),
        o?.verdict ?? verdict,
      ]
        // Names of weights are long.
        .map((cell, column) => `<td>${column === 1 ? escaped(cell).replaceAll(".", ".<wbr>") : escaped(cell)}</td>`)
        .join(""),
    ),
  );
  const heads = ["case", "output", "max abs", "relative L2", "held to", "verdict"].map((head) => `<th>${head}</th>`).join("");
  return `<h2>all cases</h2><table><tr>${heads}</tr>${rows.map((row) => `<tr>${row}</tr>`).join("")}</table>`;
}

/** The plane of the last two axes that has the largest difference. */
async function pictures({ name, comparison, got, want }: Seen): Promise<string> {
  const plane = planeOf(want.shape, comparison.worst?.at);
  const { rows, columns, offset } = plane;
  // What is tall lies on its side.
  const turned = rows > 2 * columns;
  const lying = turned ? { rows: columns, columns: rows } : { rows, columns };
  const cut = (t: HostTensor): Float32Array =>
    Float32Array.from({ length: rows * columns }, (_, i) => t.data[offset + (turned ? (i % rows) * columns + Math.floor(i / rows) : i)]!);
  const [ours, reference] = [cut(got), cut(want)];
  const difference = ours.map((v, i) => v - reference[i]!);
  const most = (values: Float32Array): number => values.reduce((max, v) => (Number.isFinite(v) ? Math.max(max, Math.abs(v)) : max), 0);
  const range = Math.max(most(ours), most(reference));
  const draw = async (title: string, values: Float32Array, scale: number): Promise<string> => {
    const png = await heatMap(values, lying, scale);
    return `<figure>${picture(png, title)}<figcaption>${escaped(`${title}, up to ±${scale.toExponential(2)}`)}</figcaption></figure>`;
  };
  const cells = [
    await draw("ours", ours, range),
    await draw("reference", reference, range),
    await draw("difference", difference, most(difference)),
  ];
  const share = rank(comparison);
  const held = Number.isFinite(share) ? `${(100 * share).toFixed(1)} % of the limit` : "beyond the limit";
  return (
    `<h2>${escaped(`the worst output: ${name}, ${comparison.output}: ${limitOf(comparison)}, ${held}`)}</h2>` +
    `<p>[${want.shape.join(", ")}], ${plane.words}${turned ? ", on its side" : ""}. Blue is negative, red positive, black not finite.</p>` +
    `<div class="strip large">${cells.join("")}</div>`
  );
}

/** Values that are shown as a picture: so many from `offset` on. */
export interface ShownPlane {
  readonly offset: number;
  readonly rows: number;
  readonly columns: number;
  readonly words: string;
}

/** The last two axes at a place; of a vector, rows that make it about square. */
export function planeOf(shape: readonly number[], at: readonly number[] = shape.map(() => 0)): ShownPlane {
  const size = shape.reduce((a, b) => a * b, 1);
  const [rows, columns] = [shape.at(-2) ?? 1, shape.at(-1) ?? 1];
  if (rows === 1 || columns === 1) {
    let wide = Math.ceil(Math.sqrt(size));
    while (size % wide !== 0) wide++;
    return { offset: 0, rows: size / wide, columns: wide, words: "row by row" };
  }
  const lead = shape.slice(0, -2);
  const index = lead.reduce((sum, n, axis) => sum * n + at[axis]!, 0);
  const place = [...at.slice(0, lead.length), ":", ":"].join(", ");
  return { offset: index * rows * columns, rows, columns, words: `of it [${place}]` };
}

/** A PNG: white is 0, blue and red are −scale and scale. What is too large is shown by the value of each block that is furthest from 0. */
export async function heatMap(
  values: Float32Array,
  { rows, columns }: Pick<ShownPlane, "rows" | "columns">,
  scale: number,
): Promise<Uint8Array> {
  const block = Math.max(1, Math.ceil(Math.max(rows, columns) / MOST_PIXELS));
  const [height, width] = [Math.ceil(rows / block), Math.ceil(columns / block)];
  const shown = new Float32Array(width * height);
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) {
      const at = Math.floor(r / block) * width + Math.floor(c / block);
      const value = values[r * columns + c]!;
      if (!Number.isFinite(value) || Math.abs(value) > Math.abs(shown[at]!)) shown[at] = Number.isFinite(value) ? value : NaN;
    }
  const data = new Uint8Array(4 * width * height).fill(255);
  shown.forEach((value, i) => {
    const pale = Math.round(255 * (1 - Math.min(1, scale > 0 ? Math.abs(value) / scale : 0)));
    const [red, blue] = value < 0 ? [pale, 255] : [255, pale];
    data.set(Number.isNaN(value) ? [0, 0, 0, 255] : [red, pale, blue, 255], 4 * i);
  });
  return await encodeVideo([{ width, height, data }], { format: "png", fps: 1 });
}
