/** The report of a transformer's run as one file of HTML: its curves, and validation clips. */
import { escaped } from "../../base/html.ts";
import { bytesUnit } from "../../base/units.ts";
import { type Axis, chart, type Line, picture, runPage, smoothed, stepAxis } from "../report/page.ts";
import type { HeldOutLoss, LoggedStep } from "./run-folder.ts";

/** Clips of one step, each as a strip of its frames. */
export interface ReportedClips {
  readonly step: number;
  /** No picture where it is no more in the folder. */
  readonly strips: readonly { readonly prompt: string; readonly png: Uint8Array | undefined }[];
}

export interface Report {
  readonly title: string;
  readonly steps: number;
  readonly running: boolean;
  /** What the run was told and found, by name. */
  readonly facts: Readonly<Record<string, string>>;
  readonly log: readonly LoggedStep[];
  readonly clips: readonly ReportedClips[];
  /** Steps that clips were made after and are kept, of which `clips` may be some. Default: as many as `clips`. */
  readonly sampled?: number;
  /** Of the run, in their order: where several are, their beginnings are marked. */
  readonly stages?: readonly { readonly name: string; readonly steps: number }[];
  /** What held-out clips lost, in this run and in one to compare it with. */
  readonly heldOut?: readonly HeldOutLoss[];
  readonly beside?: readonly HeldOutLoss[];
  /** Timesteps of the model. */
  readonly timesteps: number;
}

export function reportPage({
  title,
  steps,
  running,
  facts,
  log,
  clips,
  sampled = clips.length,
  timesteps,
  stages = [],
  heldOut = [],
  beside = [],
}: Report): string {
  const along = stepAxis(steps, stages);
  const last = log.at(-1);
  const quarter = (t: number): number => Math.min(3, Math.floor((4 * t) / timesteps));
  const losses: Line[] = [0, 1, 2, 3].map((q) => ({
    name: `timesteps ${Math.ceil((timesteps * q) / 4)} to ${Math.ceil((timesteps * (q + 1)) / 4) - 1}`,
    points: smoothed(
      log.flatMap(({ step, clips: of }) => of.filter((c) => !c.prior && quarter(c.timestep) === q).map((c) => [step, c.loss] as const)),
    ),
  }));
  const curve = (name: string, of: (step: LoggedStep) => number): Line => ({ name, points: smoothed(log.map((s) => [s.step, of(s)])) });
  const skipped = log.reduce((sum, step) => sum + (step.round?.skipped ?? Number(step.skipped ?? false)), 0);
  const told: Record<string, string> = {
    ...facts,
    steps: `${last?.step ?? 0} of ${steps}${skipped ? `, ${skipped} skipped, whose gradients were not finite` : ""}`,
    "timesteps drawn": coverage(log, timesteps),
  };
  const memory = bytesUnit(log.reduce((most, { bytes }) => Math.max(most, bytes), 0));
  return runPage({
    title,
    running,
    facts: told,
    charts: [
      chart("loss, by quarter of the timesteps", losses, along),
      chart("loss", [curve("of all clips", ({ loss }) => loss)], along),
      chart("loss of prior clips", [curve("of prior clips", priorLoss)], along),
      chart("learning rate", [curve("rate", ({ lr }) => lr)], along),
      chart("norm of the gradient", [curve("before clipping", ({ gradNorm }) => gradNorm)], along),
      chart(`memory of the adapter, ${memory.unit}`, [curve("allocated", ({ bytes }) => bytes / memory.bytes)], along),
      chart("fill rate of packs, %", [curve("fill", ({ fill }) => (fill === undefined ? Number.NaN : 100 * fill))], along),
      chart(
        "exchanged a round, MB",
        [curve("sent and received", ({ round }) => (round?.sent ? (round.sent + round.received) / 1e6 : Number.NaN))],
        along,
      ),
      chart("seconds a step", [curve("seconds", ({ seconds }) => seconds)], along, "usual"),
      ...heldOutCharts(heldOut, beside, along),
    ],
    below: clipTable(clips, sampled),
  });
}

/** Of a step's prior clips; none where it had none. */
function priorLoss({ clips }: LoggedStep): number {
  const losses = clips.filter(({ prior }) => prior).map(({ loss }) => loss);
  return losses.length ? losses.reduce((sum, loss) => sum + loss, 0) / losses.length : Number.NaN;
}

/** Of each tenth of the timesteps how many clips were drawn there. */
function coverage(log: readonly LoggedStep[], timesteps: number): string {
  const counts = new Array<number>(10).fill(0);
  for (const { clips } of log) for (const { timestep } of clips) counts[Math.min(9, Math.floor((10 * timestep) / timesteps))]!++;
  return `${counts.join(", ")} by tenths`;
}

/** The loss on held-out clips by step, and by the work that was done, beside another run's. */
function heldOutCharts(own: readonly HeldOutLoss[], beside: readonly HeldOutLoss[], along: Axis): string[] {
  const [first] = own;
  if (!first) return [];
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
  ];
}

/** A row a step, a column a prompt: what the same seed shows as the model learns. */
function clipTable(clips: readonly ReportedClips[], sampled: number): string {
  const [first] = clips;
  if (!first) return "";
  const head = first.strips.map(({ prompt }) => `<th>${escaped(prompt)}</th>`).join("");
  const rows = clips.map(
    ({ step, strips }) =>
      `<tr><th>${step}</th>${strips.map(({ prompt, png }) => `<td>${picture(png, `${prompt}, step ${step}`)}</td>`).join("")}</tr>`,
  );
  const table = `<table><tr><th>step</th>${head}</tr>${rows.join("")}</table>`;
  const some = clips.length < sampled ? `<p>The first and the last of ${sampled} that are in samples/.</p>` : "";
  return `<h2>validation clips, of the same seeds</h2>${some}<div class="clips">${table}</div>`;
}
