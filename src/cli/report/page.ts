/**
 * The page of a run's report: facts, curves as SVG, pictures inside it, no script and nothing from elsewhere. While the run goes on a page
 * that is open loads itself again.
 */

import { escaped } from "../../base/html.ts";
import { colour, REPORT_COLOURS } from "../../base/report-colours.ts";
import { median } from "../../tuning/measure.ts";
import type { RunFolder } from "../train/run-folder.ts";

export interface ReportPage {
  readonly title: string;
  /** Of a run that may still go on; else nothing is said. */
  readonly running?: boolean;
  /** What the run was told and found, by name. */
  readonly facts: Readonly<Record<string, string>>;
  /** What `chart` gave; empty ones are left out. */
  readonly charts: readonly string[];
  /** What stands between the facts and the charts, as HTML. */
  readonly above?: string;
  /** What stands below them, as HTML. */
  readonly below: string;
}

/**
 * What a chart's values lie between. `zero`: 0, so that a height is an amount, and the most. `least`: the least and the most, where all of
 * them lie far from 0 and it means nothing. `usual`: 0 and three times their median at most, where single ones would flatten the rest, as
 * the first step does, in which kernels are compiled; a value above ends at the edge, and the most is told below.
 */
export type ChartRange = "zero" | "least" | "usual";

export interface Line {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

const RELOAD_SECONDS = 10;
/** A curve has so many points at most: each is the mean of the steps that it stands for. */
const MOST_POINTS = 300;
const [WIDTH, HEIGHT, BOTTOM] = [560, 200, 24];
/** Of a letter in a chart. */
const LETTER = 6.4;
const COLOURS = (["blue", "green", "amber", "red", "violet"] as const).map(colour);

export function runPage({ title, running, facts, charts, above = "", below }: ReportPage): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8">${running ? `<meta http-equiv="refresh" content="${RELOAD_SECONDS}">` : ""}
<meta name="viewport" content="width=device-width"><title>${escaped(title)}</title>
<style>
${REPORT_COLOURS}
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1180px; padding: 0 1rem;
  color: var(--text); background: var(--page) }
h1 { font-size: 1.3rem; overflow-wrap: break-word } .facts td { overflow-wrap: anywhere }
h2 { font-size: 1rem; margin: 1.5rem 0 0; overflow-wrap: anywhere } .curves h2 { margin: 0 }
table { border-collapse: collapse; display: block; max-width: 100%; overflow-x: auto }
td, th { padding: 2px 12px 2px 0; text-align: left; vertical-align: top }
@media (max-width: 760px) { table:not(.facts) { white-space: nowrap } }
.item { white-space: nowrap }
.curves { display: flex; flex-wrap: wrap; align-items: start; gap: 1.5rem; margin-top: 1.5rem }
.curves section { width: min(100%, ${WIDTH}px) }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft) } svg .tile text { fill: var(--text) }
svg { max-width: 100%; height: auto } svg.wide { width: 100%; min-width: 1120px; max-width: none } .scroll { overflow-x: auto }
@media (max-width: 480px) { .curves svg text { font-size: 14px } }
.clip { max-width: 100%; min-width: 256px; margin-top: 1rem }
.strip { display: flex; gap: 6px; overflow-x: auto } .strip figure { margin: 0; text-align: center } .strip img { height: 96px }
.strip img { image-rendering: pixelated } figcaption { font-size: 12px; color: var(--soft) }
.strip.large img { min-height: 96px; max-height: 256px; height: auto; width: 340px; object-fit: contain }
.clips { overflow-x: auto } .clips img { display: block; image-rendering: pixelated; height: 64px } .clips.tall img { height: auto }
</style></head><body>
<h1>${escaped(title)}</h1>
${running === undefined ? "" : `<p>${running ? "The run goes on; this page loads itself again." : "The run has ended."}</p>`}
<table class="facts">${Object.entries(facts)
    .map(([name, value]) => `<tr><th>${escaped(name)}</th><td>${escaped(value)}</td></tr>`)
    .join("")}</table>
${above}
<div class="curves">
${charts.filter(Boolean).join("\n")}
</div>
${below}
</body></html>
`;
}

/** Points in order, so many at most: each is a mean of its neighbours. */
export function smoothed(points: readonly (readonly [number, number])[]): [number, number][] {
  const finite = points.filter(([, y]) => Number.isFinite(y));
  const size = Math.max(1, Math.ceil(finite.length / MOST_POINTS));
  const means: [number, number][] = [];
  for (let i = 0; i < finite.length; i += size) {
    const part = finite.slice(i, i + size);
    const mean = (at: 0 | 1): number => part.reduce((sum, point) => sum + point[at], 0) / part.length;
    means.push([mean(0), mean(1)]);
  }
  return means;
}

/** Where the stages of a run begin, but for the first, along its steps. */
export function stepAxis(steps: number, stages: readonly { readonly name: string; readonly steps: number }[]): Axis {
  let begin = 0;
  const marks = stages.flatMap(({ name, steps: own }) => {
    begin += own;
    return begin - own > 0 ? [{ at: begin - own, name }] : [];
  });
  return { most: steps, unit: `step ${steps}`, marks };
}

/** What a chart's points lie along, from 0. */
export interface Axis {
  readonly most: number;
  /** What the end is called. */
  readonly unit: string;
  readonly marks: readonly Mark[];
}

/** Where a stage begins. */
export interface Mark {
  readonly at: number;
  readonly name: string;
}

export function chart(title: string, lines: readonly Line[], { most, unit, marks }: Axis, range: ChartRange = "zero"): string {
  const drawn = lines.map(({ points }) => points.filter(([, y]) => Number.isFinite(y)));
  const values = drawn.flatMap((points) => points.map(([, y]) => y));
  if (values.length === 0) return "";
  const [low, top] = rangeOf(values, range);
  const ticks = [0, 0.5, 1].map((share) => low + (top - low) * share);
  const labels = labelsOf(ticks);
  const left = Math.max(56, 12 + LETTER * Math.max(...labels.map(({ length }) => length)));
  const right = WIDTH - 8;
  const x = (step: number): string => (left + ((right - left) * step) / Math.max(1, most)).toFixed(1);
  const y = (value: number): string => (8 + (HEIGHT - BOTTOM - 8) * (1 - (Math.min(value, top) - low) / (top - low))).toFixed(1);
  const grid = ticks
    .map(
      (v, i) =>
        `<line x1="${left}" x2="${right}" y1="${y(v)}" y2="${y(v)}" stroke="${colour("grid")}"/>` +
        `<text x="${left - 6}" y="${Number(y(v)) + 4}" text-anchor="end">${labels[i]!}</text>`,
    )
    .join("");
  const begun = marks
    .map(({ at, name }, i) => {
      // On the side that has room for it, below the name before it.
      const turned = Number(x(at)) + 3 + LETTER * name.length > WIDTH;
      return (
        `<line x1="${x(at)}" x2="${x(at)}" y1="8" y2="${HEIGHT - BOTTOM}" stroke="${colour("mark")}" stroke-dasharray="3 3"/>` +
        `<text x="${Number(x(at)) + (turned ? -3 : 3)}" y="${16 + 12 * (i % 3)}"${turned ? ' text-anchor="end"' : ""}>` +
        `${escaped(name)}</text>`
      );
    })
    .join("");
  const zero = low < 0 && top > 0 ? `<line x1="${left}" x2="${right}" y1="${y(0)}" y2="${y(0)}" stroke="${colour("mark")}"/>` : "";
  const curves = drawn
    .map((points, i) => {
      const places = points.map(([s, v]) => `${x(s)},${y(v)}`).join(" ");
      const line = `<polyline fill="none" stroke-width="1.5" stroke="${COLOURS[i]}" points="${places}"/>`;
      // A line of one point is none.
      return points.length === 1 ? `${line}<circle cx="${x(points[0]![0])}" cy="${y(points[0]![1])}" r="2.5" fill="${COLOURS[i]}"/>` : line;
    })
    .join("");
  const legend =
    lines.length > 1
      ? lines.map(({ name }, i) => `<span class="item"><span style="color:${COLOURS[i]}">—</span> ${escaped(name)}</span> `).join("")
      : "";
  const highest = values.reduce((a, b) => Math.max(a, b));
  const above = highest > top ? `above the edge: up to ${labelsOf([low, highest])[1]!}` : "";
  return (
    `<section><h2>${escaped(title)}</h2>` +
    `<svg width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escaped(title)}">` +
    `${grid}${zero}${begun}${curves}` +
    `<text x="${left}" y="${HEIGHT - 6}">0</text><text x="${right}" y="${HEIGHT - 6}" text-anchor="end">${unit}</text></svg>` +
    `<div><small>${legend}${above}</small></div></section>`
  );
}

/** The least and the largest value of an axis. */
function rangeOf(values: readonly number[], range: ChartRange): [low: number, top: number] {
  const [least, most] = [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
  const usual = range === "usual" ? 3 * median(values) : 0;
  if (usual > 0) return [0, Math.min(most, usual)];
  if (range !== "least") return [Math.min(0, least), Math.max(0, most) || (least < 0 ? 0 : 1)];
  const around = least === most ? Math.abs(most) * 0.05 || 1 : 0;
  return [least - around, most + around];
}

/** As short as they can be and still tell each from the next. */
function labelsOf(ticks: readonly number[]): string[] {
  const plain = (text: string): string => (text.includes("e") ? String(Number(text)) : text);
  const shown = (digits: number): string[] =>
    ticks.map((v) => (v === 0 ? "0" : Math.abs(v) < 1e-3 ? v.toExponential(digits - 1) : plain(v.toPrecision(digits))));
  for (let digits = 3; digits < 8; digits++) if (new Set(shown(digits)).size === ticks.length) return shown(digits);
  return shown(8);
}

/** Makes a report and writes it; one that cannot be ends no run. */
export async function writeReport(folder: RunFolder, page: () => string | Promise<string>, note: (message: string) => void): Promise<void> {
  try {
    await folder.write("report.html", new TextEncoder().encode(await page()));
  } catch (error) {
    note(`The report could not be written: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** A picture inside the page; words where it is no more. */
export const picture = (png: Uint8Array | undefined, alt: string): string =>
  png
    ? `<img alt="${escaped(alt)}" src="data:image/png;base64,${Buffer.from(png).toString("base64")}">`
    : `(${escaped(alt)}: the picture is not in samples/ any more)`;
