/** A film as a line: its shots in turn light and dark, changes between them, clips that stay and that were dropped. */
import type { Transition } from "../cuts/detect.ts";
import { escaped } from "../../base/html.ts";
import { colour } from "../../base/report-colours.ts";
import type { ReportedClip } from "./reported.ts";

export interface ReportedFilm {
  readonly name: string;
  readonly seconds: number;
  readonly frames: number;
  readonly transitions: readonly Transition[];
  /** When each begins: of `at`, `from` and `to`. */
  readonly times: readonly (readonly [at: number, from: number, to: number])[];
}

const WIDTH = 1000;

const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? "" : "s"}`;

export function timeline({ name, seconds, frames, transitions, times }: ReportedFilm, clips: readonly ReportedClip[]): string {
  const x = (time: number): string => ((WIDTH * time) / Math.max(seconds, 1e-3)).toFixed(1);
  const bar = (from: number, to: number, y: number, height: number, fill: string, title: string): string =>
    `<rect x="${x(from)}" width="${Math.max(1, Number(x(to)) - Number(x(from))).toFixed(1)}" y="${y}" height="${height}" fill="${fill}">` +
    `<title>${escaped(title)}</title></rect>`;
  const ends = [0, ...times.map(([at]) => at), seconds];
  const shots = ends.slice(1).map((end, i) => bar(ends[i]!, end, 2, 14, i % 2 ? colour("odd") : colour("even"), `shot ${i + 1}`));
  const changes = transitions.map(({ by, at, score }, i) => {
    const [, from, to] = times[i]!;
    return bar(from, Math.max(to, from), 0, 18, colour("red"), `frame ${at} of ${frames}, ${by}, ${score.toFixed(2)} × threshold`);
  });
  const own = clips.map(({ id, start, end, reason }) =>
    bar(
      start,
      end,
      21,
      9,
      reason === undefined ? colour("green") : colour("amber"),
      `${id}: ${reason === undefined ? "stays" : `dropped by ${reason}`}`,
    ),
  );
  const told = `${name}: ${seconds.toFixed(1)} s, ${count(transitions.length, "change")}, ${count(clips.length, "clip")}`;
  return (
    `<div class="film"><small>${escaped(told)}</small>` +
    `<svg viewBox="0 0 ${WIDTH} 32" preserveAspectRatio="none">${[...shots, ...changes, ...own].join("")}</svg></div>`
  );
}
