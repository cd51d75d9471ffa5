/**
 * The page of a run's report: facts, curves as SVG, pictures inside it, no script and nothing from elsewhere. While the run goes on a page
 * that is open loads itself again.
 */

import type { RunFolder } from "./run-folder.ts";

export interface ReportPage {
  readonly title: string;
  readonly running: boolean;
  /** What the run was told and found, by name. */
  readonly facts: Readonly<Record<string, string>>;
  /** What `chart` gave; empty ones are left out. */
  readonly charts: readonly string[];
  /** What stands below them, as HTML. */
  readonly below: string;
}

export interface Line {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

const RELOAD_SECONDS = 10;
/** A curve has so many points at most: each is the mean of the steps that it stands for. */
const MOST_POINTS = 300;
const [WIDTH, HEIGHT, LEFT, BOTTOM] = [560, 200, 56, 24];
const COLOURS = ["#2563eb", "#16a34a", "#d97706", "#dc2626", "#7c3aed"];

export const escaped = (text: string): string =>
  text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]!);

export function runPage({ title, running, facts, charts, below }: ReportPage): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8">${running ? `<meta http-equiv="refresh" content="${RELOAD_SECONDS}">` : ""}
<meta name="viewport" content="width=device-width"><title>${escaped(title)}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1180px; padding: 0 1rem; color: #1f2937; background: #fff }
h1 { font-size: 1.3rem } h2 { font-size: 1rem; margin: 0 } table { border-collapse: collapse }
td, th { padding: 2px 12px 2px 0; text-align: left }
.curves { display: flex; flex-wrap: wrap; gap: 1.5rem } svg text { font: 11px system-ui, sans-serif; fill: #6b7280 }
.clips { overflow-x: auto } .clips img { display: block; image-rendering: pixelated; height: 64px } .clips.tall img { height: auto }
</style></head><body>
<h1>${escaped(title)}</h1>
<p>${running ? "The run goes on; this page loads itself again." : "The run has ended."}</p>
<table>${Object.entries(facts)
    .map(([name, value]) => `<tr><th>${escaped(name)}</th><td>${escaped(value)}</td></tr>`)
    .join("")}</table>
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

export function chart(title: string, lines: readonly Line[], { most, unit, marks }: Axis): string {
  const drawn = lines.map(({ points }) => points.filter(([, y]) => Number.isFinite(y)));
  const values = drawn.flatMap((points) => points.map(([, y]) => y));
  if (values.length === 0) return "";
  // From 0, or from the least where values are below it.
  const low = values.reduce((a, b) => Math.min(a, b), 0);
  const top = values.reduce((a, b) => Math.max(a, b), 0) || (low < 0 ? 0 : 1);
  const x = (step: number): string => (LEFT + ((WIDTH - LEFT - 8) * step) / Math.max(1, most)).toFixed(1);
  const y = (value: number): string => (8 + (HEIGHT - BOTTOM - 8) * (1 - (value - low) / (top - low))).toFixed(1);
  const ticks = [0, 0.5, 1].map((share) => low + (top - low) * share);
  const grid = ticks
    .map(
      (v) =>
        `<line x1="${LEFT}" x2="${WIDTH - 8}" y1="${y(v)}" y2="${y(v)}" stroke="#e5e7eb"/>` +
        `<text x="${LEFT - 6}" y="${Number(y(v)) + 4}" text-anchor="end">${v === 0 ? 0 : v.toPrecision(3)}</text>`,
    )
    .join("");
  const begun = marks
    .map(
      ({ at, name }) =>
        `<line x1="${x(at)}" x2="${x(at)}" y1="8" y2="${HEIGHT - BOTTOM}" stroke="#9ca3af" stroke-dasharray="3 3"/>` +
        `<text x="${Number(x(at)) + 3}" y="16">${escaped(name)}</text>`,
    )
    .join("");
  const zero = low < 0 ? `<line x1="${LEFT}" x2="${WIDTH - 8}" y1="${y(0)}" y2="${y(0)}" stroke="#9ca3af"/>` : "";
  const curves = drawn
    .map(
      (points, i) =>
        `<polyline fill="none" stroke-width="1.5" stroke="${COLOURS[i]}" points="${points.map(([s, v]) => `${x(s)},${y(v)}`).join(" ")}"/>`,
    )
    .join("");
  const legend =
    lines.length > 1 ? lines.map(({ name }, i) => `<span style="color:${COLOURS[i]}">— ${escaped(name)}</span> `).join("") : "";
  return (
    `<section><h2>${escaped(title)}</h2>` +
    `<svg width="${WIDTH}" height="${HEIGHT}" role="img" aria-label="${escaped(title)}">${grid}${zero}${begun}${curves}` +
    `<text x="${LEFT}" y="${HEIGHT - 6}">0</text><text x="${WIDTH - 8}" y="${HEIGHT - 6}" text-anchor="end">${unit}</text></svg>` +
    `<div><small>${legend}</small></div></section>`
  );
}

/** Makes a report and writes it; one that cannot be ends no run. */
export async function writeReport(folder: RunFolder, page: () => string | Promise<string>, note: (message: string) => void): Promise<void> {
  try {
    await folder.write("report.html", new TextEncoder().encode(await page()));
  } catch (error) {
    note(`The report could not be written: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** A picture inside the page. */
export const picture = (png: Uint8Array, alt: string): string =>
  `<img alt="${escaped(alt)}" src="data:image/png;base64,${Buffer.from(png).toString("base64")}">`;
