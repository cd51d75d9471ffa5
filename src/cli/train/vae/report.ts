/** The report of a VAE's run as one file of HTML: its curves, and reconstructions beside originals. */
import { bytesUnit } from "../../../base/units.ts";
import { chart, type ChartRange, type Line, picture, runPage, smoothed, stepAxis } from "../../report/page.ts";
import type { HeldOutMeasures, HeldOutPicture } from "./held-out.ts";

/** A line of the log. */
export interface LoggedVaeStep {
  readonly step: number;
  /** Read again, null where it was not finite; so are the others. */
  readonly loss: number | null;
  readonly losses: Readonly<Record<string, number | null>>;
  readonly clips: number;
  readonly gradNorm: number;
  readonly lr: number;
  readonly seconds: number;
  readonly skipped?: true;
  readonly stage?: number;
  /** Of the adapter's memory. */
  readonly bytes: number;
  readonly flops: number;
}

export interface VaeReport {
  readonly title: string;
  readonly steps: number;
  readonly running: boolean;
  readonly facts: Readonly<Record<string, string>>;
  readonly stages: readonly { readonly name: string; readonly steps: number }[];
  readonly log: readonly LoggedVaeStep[];
  readonly measures: readonly HeldOutMeasures[];
  /** Of some of the measurements. */
  readonly pictures: readonly HeldOutPicture[];
}

export function vaeReportPage({ title, steps, running, facts, stages, log, measures, pictures }: VaeReport): string {
  const along = stepAxis(steps, stages);
  const curve = (name: string, of: (step: LoggedVaeStep) => number): Line => ({ name, points: smoothed(log.map((s) => [s.step, of(s)])) });
  const measured = (name: string, of: (one: HeldOutMeasures) => number, from?: ChartRange): string =>
    chart(`held-out clips: ${name}`, [{ name, points: measures.map((one) => [one.step, of(one)] as const) }], along, from);
  const kinds = [...new Set(log.flatMap(({ losses }) => Object.keys(losses)))];
  const skipped = log.filter((step) => step.skipped).length;
  const last = measures.at(-1);
  const rows = pictures.map(({ step, png }) => `<tr><th>${step}</th><td>${picture(png, `reconstructions, step ${step}`)}</td></tr>`);
  const memory = bytesUnit(log.reduce((max, { bytes }) => Math.max(max, bytes), 0));
  return runPage({
    title,
    running,
    facts: {
      ...facts,
      steps: `${log.at(-1)?.step ?? 0} of ${steps}${skipped ? `, ${skipped} skipped, whose gradients were not finite` : ""}`,
      ...(last ? { "held-out clips": measuresText(last) } : {}),
    },
    charts: [
      chart("loss", [curve("by its weights", ({ loss }) => loss ?? Number.NaN)], along),
      ...kinds.map((kind) => chart(`loss: ${kind}`, [curve(kind, ({ losses }) => losses[kind] ?? Number.NaN)], along)),
      measured("PSNR, dB", ({ psnr }) => psnr, "least"),
      measured("SSIM", ({ ssim }) => ssim, "least"),
      ...(measures.some(({ lpips }) => lpips !== undefined) ? [measured("LPIPS", ({ lpips }) => lpips ?? Number.NaN)] : []),
      measured("flicker of a still, levels of 255", ({ flicker }) => flicker),
      chart("learning rate", [curve("rate", ({ lr }) => lr)], along),
      chart("norm of the gradient", [curve("before clipping", ({ gradNorm }) => gradNorm)], along),
      chart(`memory of the adapter, ${memory.unit}`, [curve("allocated", ({ bytes }) => bytes / memory.bytes)], along),
      chart("seconds a step", [curve("seconds", ({ seconds }) => seconds)], along, "usual"),
    ],
    below: rows.length
      ? "<h2>held-out clips: originals, reconstructions, and four times what differs around grey</h2>" +
        (rows.length < measures.length ? `<p>The first and the last of ${measures.length} measurements; others are in samples/.</p>` : "") +
        `<div class="clips tall"><table><tr><th>step</th></tr>${rows.join("")}</table></div>`
      : "",
  });
}

/** Whether a line of the log is whole; the loss of a step that was skipped is none. */
export const isLogged = ({ losses }: LoggedVaeStep): boolean => typeof losses === "object" && losses !== null;

/** In words. */
export function measuresText({ psnr, ssim, flicker, lpips }: HeldOutMeasures): string {
  const distance = lpips === undefined ? "" : `LPIPS ${lpips.toFixed(4)}, `;
  return `PSNR ${psnr.toFixed(2)} dB, SSIM ${ssim.toFixed(4)}, ${distance}flicker ${flicker.toFixed(2)} levels of 255`;
}
