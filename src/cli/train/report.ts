/**
 * The report of a run as one file of HTML: curves as SVG, validation clips as pictures inside it, no script and nothing from elsewhere.
 * While the run goes on a page that is open loads itself again.
 */
import type { HeldOutLoss, LoggedStep } from "./run-folder.ts";

/** Clips of one step, each as a strip of its frames. */
export interface ReportedClips {
  readonly step: number;
  readonly strips: readonly { readonly prompt: string; readonly png: Uint8Array }[];
}

export interface Report {
  readonly title: string;
  readonly steps: number;
  readonly running: boolean;
  /** What the run was told and found, by name. */
  readonly facts: Readonly<Record<string, string>>;
  readonly log: readonly LoggedStep[];
  readonly clips: readonly ReportedClips[];
  /** Of the run, in their order: where several are, their beginnings are marked. */
  readonly stages?: readonly { readonly name: string; readonly steps: number }[];
  /** What held-out clips lost, in this run and in one to compare it with. */
  readonly heldOut?: readonly HeldOutLoss[];
  readonly beside?: readonly HeldOutLoss[];
  /** Timesteps of the model. */
  readonly timesteps: number;
}

interface Line {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

const RELOAD_SECONDS = 10;
/** A curve has so many points at most: each is the mean of the steps that it stands for. */
const MOST_POINTS = 300;
const [WIDTH, HEIGHT, LEFT, BOTTOM] = [560, 200, 56, 24];
const COLOURS = ["#2563eb", "#16a34a", "#d97706", "#dc2626", "#7c3aed"];

const escaped = (text: string): string => text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]!);

export function reportPage({
  title,
  steps,
  running,
  facts,
  log,
  clips,
  timesteps,
  stages = [],
  heldOut = [],
  beside = [],
}: Report): string {
  let begin = 0;
  const marks: Mark[] = stages.flatMap(({ name, steps: own }) => {
    begin += own;
    return begin - own > 0 ? [{ at: begin - own, name }] : [];
  });
  const along: Axis = { most: steps, unit: `step ${steps}`, marks };
  const last = log.at(-1);
  const quarter = (t: number): number => Math.min(3, Math.floor((4 * t) / timesteps));
  const losses: Line[] = [0, 1, 2, 3].map((q) => ({
    name: `timesteps ${Math.ceil((timesteps * q) / 4)} to ${Math.ceil((timesteps * (q + 1)) / 4) - 1}`,
    points: smoothed(log.flatMap(({ step, clips: of }) => of.filter((c) => quarter(c.timestep) === q).map((c) => [step, c.loss] as const))),
  }));
  const curve = (name: string, of: (step: LoggedStep) => number): Line => ({ name, points: smoothed(log.map((s) => [s.step, of(s)])) });
  const skipped = log.filter((step) => step.skipped).length;
  const told: Record<string, string> = {
    ...facts,
    steps: `${last?.step ?? 0} of ${steps}${skipped ? `, ${skipped} skipped, whose gradients were not finite` : ""}`,
    "timesteps drawn": coverage(log, timesteps),
  };
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8">${running ? `<meta http-equiv="refresh" content="${RELOAD_SECONDS}">` : ""}
<meta name="viewport" content="width=device-width"><title>${escaped(title)}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1180px; padding: 0 1rem; color: #1f2937; background: #fff }
h1 { font-size: 1.3rem } h2 { font-size: 1rem; margin: 0 } table { border-collapse: collapse }
td, th { padding: 2px 12px 2px 0; text-align: left }
.curves { display: flex; flex-wrap: wrap; gap: 1.5rem } svg text { font: 11px system-ui, sans-serif; fill: #6b7280 }
.clips { overflow-x: auto } .clips img { display: block; image-rendering: pixelated; height: 64px }
</style></head><body>
<h1>${escaped(title)}</h1>
<p>${running ? "The run goes on; this page loads itself again." : "The run has ended."}</p>
<table>${Object.entries(told)
    .map(([name, value]) => `<tr><th>${escaped(name)}</th><td>${escaped(value)}</td></tr>`)
    .join("")}</table>
<div class="curves">
${chart("loss, by quarter of the timesteps", losses, along)}
${chart("loss", [curve("of all clips", ({ loss }) => loss)], along)}
${chart("learning rate", [curve("rate", ({ lr }) => lr)], along)}
${chart("norm of the gradient", [curve("before clipping", ({ gradNorm }) => gradNorm)], along)}
${chart("memory of the adapter, MB", [curve("allocated", ({ bytes }) => bytes / 1e6)], along)}
${chart("fill rate of packs, %", [curve("fill", ({ fill }) => (fill === undefined ? Number.NaN : 100 * fill))], along)}
${chart("seconds a step", [curve("seconds", ({ seconds }) => seconds)], along)}
${heldOutCharts(heldOut, beside, along)}
</div>
${clipTable(clips)}
</body></html>
`;
}

/** Of each tenth of the timesteps how many clips were drawn there. */
function coverage(log: readonly LoggedStep[], timesteps: number): string {
  const counts = new Array<number>(10).fill(0);
  for (const { clips } of log) for (const { timestep } of clips) counts[Math.min(9, Math.floor((10 * timestep) / timesteps))]!++;
  return `${counts.join(", ")} by tenths`;
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

/** The loss on held-out clips by step, and by the work that was done, beside another run's. */
function heldOutCharts(own: readonly HeldOutLoss[], beside: readonly HeldOutLoss[], along: Axis): string {
  const [first] = own;
  if (!first) return "";
  const work = (losses: readonly HeldOutLoss[]): [number, number][] => losses.map(({ flops, loss }) => [flops, loss]);
  const most = Math.max(...[...own, ...beside].map(({ flops }) => flops));
  const marks = along.marks.flatMap(({ at, name }) => {
    const reached = own.find(({ step }) => step >= at);
    return reached ? [{ at: reached.flops, name }] : [];
  });
  return [
    chart(
      "loss on held-out clips, by timestep",
      Object.keys(first.losses).map((t) => ({ name: t, points: own.map(({ step, losses }) => [step, losses[t]!] as const) })),
      along,
    ),
    chart(
      "loss on held-out clips, by work",
      [{ name: "this run", points: work(own) }, ...(beside.length ? [{ name: "the run beside", points: work(beside) }] : [])],
      { most, unit: `${(most / 1e12).toPrecision(3)} TFLOP`, marks },
    ),
  ].join("\n");
}

/** What a chart's points lie along, from 0. */
interface Axis {
  readonly most: number;
  /** What the end is called. */
  readonly unit: string;
  readonly marks: readonly Mark[];
}

/** Where a stage begins. */
interface Mark {
  readonly at: number;
  readonly name: string;
}

function chart(title: string, lines: readonly Line[], { most, unit, marks }: Axis): string {
  const values = lines.flatMap(({ points }) => points.map(([, y]) => y));
  if (values.length === 0) return "";
  const top = values.reduce((a, b) => Math.max(a, b), 0) || 1;
  const x = (step: number): string => (LEFT + ((WIDTH - LEFT - 8) * step) / Math.max(1, most)).toFixed(1);
  const y = (value: number): string => (8 + (HEIGHT - BOTTOM - 8) * (1 - value / top)).toFixed(1);
  const ticks = [0, 0.5, 1].map((share) => top * share);
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
  const drawn = lines
    .map(
      ({ points }, i) =>
        `<polyline fill="none" stroke-width="1.5" stroke="${COLOURS[i]}" points="${points.map(([s, v]) => `${x(s)},${y(v)}`).join(" ")}"/>`,
    )
    .join("");
  const legend =
    lines.length > 1 ? lines.map(({ name }, i) => `<span style="color:${COLOURS[i]}">— ${escaped(name)}</span> `).join("") : "";
  return (
    `<section><h2>${escaped(title)}</h2>` +
    `<svg width="${WIDTH}" height="${HEIGHT}" role="img" aria-label="${escaped(title)}">${grid}${begun}${drawn}` +
    `<text x="${LEFT}" y="${HEIGHT - 6}">0</text><text x="${WIDTH - 8}" y="${HEIGHT - 6}" text-anchor="end">${unit}</text></svg>` +
    `<div><small>${legend}</small></div></section>`
  );
}

/** A row a step, a column a prompt: what the same seed shows as the model learns. */
function clipTable(clips: readonly ReportedClips[]): string {
  const [first] = clips;
  if (!first) return "";
  const head = first.strips.map(({ prompt }) => `<th>${escaped(prompt)}</th>`).join("");
  const rows = clips.map(
    ({ step, strips }) =>
      `<tr><th>${step}</th>${strips
        .map(({ prompt, png }) => `<td><img alt="${escaped(prompt)}, step ${step}" src="data:image/png;base64,${base64(png)}"></td>`)
        .join("")}</tr>`,
  );
  const table = `<table><tr><th>step</th>${head}</tr>${rows.join("")}</table>`;
  return `<h2>validation clips, of the same seeds</h2><div class="clips">${table}</div>`;
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");
