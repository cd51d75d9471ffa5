/** Stages of a run as bars along its time. */
import { escaped } from "../../base/html.ts";
import { colour } from "../../base/report-colours.ts";
import { duration } from "../terminal/progress.ts";
import { widePicture } from "./wide.ts";

/** A stage, in seconds since the run began. */
export interface Span {
  readonly name: string;
  readonly begin: number;
  readonly end: number;
}

const [WIDTH, ROW, LEFT] = [1120, 22, 150];

/** A row a stage, in the order in which they began. */
export function timeline(spans: readonly Span[]): string {
  const end = Math.max(...spans.map((span) => span.end), 1e-3);
  const names = [...new Set(spans.map(({ name }) => name))];
  const x = (seconds: number): number => LEFT + ((WIDTH - LEFT - 70) * seconds) / end;
  const bars = spans.map((span) => {
    const y = names.indexOf(span.name) * ROW;
    const seconds = duration(span.end - span.begin);
    return (
      `<g><title>${escaped(`${span.name}: ${seconds}`)}</title>` +
      `<rect x="${x(span.begin).toFixed(1)}" y="${y + 4}" width="${Math.max(1, x(span.end) - x(span.begin)).toFixed(1)}" ` +
      `height="${ROW - 8}" fill="${/^load /.test(span.name) ? colour("sky") : colour("blue")}"/>` +
      `<text x="${(x(span.end) + 5).toFixed(1)}" y="${y + 15}">${seconds}</text></g>`
    );
  });
  const labels = names.map((name, i) => `<text x="0" y="${i * ROW + 15}">${escaped(name)}</text>`);
  return widePicture(WIDTH, names.length * ROW, "time by stage", [...labels, ...bars]);
}
