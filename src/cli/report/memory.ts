/** What a generation will have on the adapter, by its plans: stacked along its stages, with the lines of what there is. */
import { escaped } from "../../base/html.ts";
import { colour } from "../../base/report-colours.ts";
import { bytesText } from "../../base/units.ts";
import { loadingSeconds, stageSeconds, type StageTime } from "../../pipelines/cogvideox/seconds.ts";
import type { StageMemory } from "../../pipelines/requirements.ts";
import { duration } from "../terminal/progress.ts";
import { widePicture } from "./wide.ts";

/** How much there is of something: a line. */
export interface MemoryLine {
  readonly name: string;
  readonly bytes: number;
}

/** A stage loads, and then works; what each of the two has on the adapter, in the order of {@link PARTS}. */
interface Phase {
  /** Of the picture's width, 0 to 1. */
  readonly from: number;
  readonly to: number;
  readonly bytes: readonly number[];
}

const PARTS = [
  { name: "weights", colour: colour("blue") },
  { name: "room of weights that come and go", colour: colour("sky") },
  { name: "inputs, outputs, states", colour: colour("violet") },
  { name: "activations", colour: colour("green") },
  { name: "on its way while loading", colour: colour("amber") },
] as const;
const [WIDTH, HEIGHT, TOP, BOTTOM, RIGHT] = [1120, 300, 16, 40, 8];
const LETTER = 6.6;
/** The least share of the width that a stage has, so that it can be seen and named. */
const LEAST = 0.08;
/** A line that is so many times above everything is said and not drawn: the rest would be flat. */
const FAR = 4;

/** The share of the width that each stage has: its time, where all are known, but enough to be seen. */
export function widths(stages: readonly StageMemory[], times: readonly StageTime[] | undefined): number[] {
  const seconds = stages.map(({ stage }) => {
    const time = times?.find((one) => one.stage === stage);
    return time && stageSeconds(time);
  });
  if (seconds.some((one) => one === undefined)) return stages.map(() => 1 / stages.length);
  const known = seconds as number[];
  const all = known.reduce((a, b) => a + b, 0) || 1;
  const wide = known.map((one) => Math.max(LEAST, one / all));
  const sum = wide.reduce((a, b) => a + b, 0);
  return wide.map((one) => one / sum);
}

/** Loading first: weights are there already, and something on its way with them; then the work, with all that it takes. */
function phases(stages: readonly StageMemory[], times: readonly StageTime[] | undefined): Phase[] {
  const shares = widths(stages, times);
  let at = 0;
  return stages.flatMap(({ stage, weights, slots, io, states, activations, total, peak }, i) => {
    const time = times?.find((one) => one.stage === stage);
    const share = time && stageSeconds(time) > 0 ? loadingSeconds(time) / stageSeconds(time) : 0.25;
    const [from, to] = [at, (at += shares[i]!)];
    const middle = from + (to - from) * Math.min(0.9, Math.max(0.1, share));
    const all = [weights, slots, io + states, activations];
    return [
      { from, to: middle, bytes: [...all, peak - total] },
      { from: middle, to, bytes: [...all, 0] },
    ];
  });
}

/** The picture, with a legend below it. */
export function memoryForecast(
  stages: readonly StageMemory[],
  times: readonly StageTime[] | undefined,
  lines: readonly MemoryLine[],
): string {
  const most = Math.max(...stages.map(({ peak }) => peak), 1);
  const near = lines.filter(({ bytes }) => bytes <= FAR * most);
  const top = 1.08 * Math.max(most, ...near.map(({ bytes }) => bytes));
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => share * top);
  const labels = ticks.map((bytes) => bytesText(bytes, 1));
  const left = 12 + LETTER * Math.max(...labels.map(({ length }) => length));
  const x = (share: number): number => left + (WIDTH - RIGHT - left) * share;
  const y = (bytes: number): number => TOP + (HEIGHT - BOTTOM - TOP) * (1 - bytes / top);
  const rectangle = ({ from, to }: Phase, low: number, high: number, fill: string, title: string): string =>
    `<g><title>${escaped(title)}</title><rect x="${x(from).toFixed(1)}" y="${y(high).toFixed(1)}" ` +
    `width="${(x(to) - x(from)).toFixed(1)}" height="${(y(low) - y(high)).toFixed(1)}" fill="${fill}"/></g>`;
  const grid = ticks.map(
    (bytes, i) =>
      `<line x1="${left}" x2="${WIDTH - RIGHT}" y1="${y(bytes).toFixed(1)}" y2="${y(bytes).toFixed(1)}" stroke="${colour("grid")}"/>` +
      `<text x="${left - 6}" y="${(y(bytes) + 4).toFixed(1)}" text-anchor="end">${labels[i]!}</text>`,
  );
  const drawn = phases(stages, times);
  const bars = drawn.flatMap((phase, i) => {
    let low = 0;
    const name = `${stages[i >> 1]!.stage}${i % 2 ? "" : ", loading"}`;
    return phase.bytes.map((bytes, part) => {
      if (bytes === 0) return "";
      const bar = rectangle(phase, low, low + bytes, PARTS[part]!.colour, `${name}: ${PARTS[part]!.name} ${bytesText(bytes, 1)}`);
      low += bytes;
      return bar;
    });
  });
  const names = stages.map((stage, i) => {
    const [from, to] = [drawn[2 * i]!.from, drawn[2 * i + 1]!.to];
    const middle = ((x(from) + x(to)) / 2).toFixed(1);
    const time = times?.find((one) => one.stage === stage.stage);
    const seconds = time && duration(stageSeconds(time));
    return (
      `<line x1="${x(to).toFixed(1)}" x2="${x(to).toFixed(1)}" y1="${TOP}" y2="${HEIGHT - BOTTOM}" stroke="${colour("mark")}" ` +
      `stroke-dasharray="3 3"/>` +
      `<text x="${middle}" y="${HEIGHT - BOTTOM + 16}" text-anchor="middle">${escaped(stage.stage)}</text>` +
      `<text x="${middle}" y="${HEIGHT - BOTTOM + 30}" text-anchor="middle">${seconds ?? ""}</text>`
    );
  });
  const limits = near.map(({ name, bytes }) => {
    const [at, red] = [y(bytes).toFixed(1), colour("red")];
    return (
      `<line class="limit" x1="${left}" x2="${WIDTH - RIGHT}" y1="${at}" y2="${at}" stroke="${red}" stroke-width="1.5" ` +
      `stroke-dasharray="6 3"/><text x="${WIDTH - RIGHT - 4}" y="${(y(bytes) - 4).toFixed(1)}" text-anchor="end" ` +
      `style="fill:${red};paint-order:stroke;stroke:${colour("page")};stroke-width:4px">` +
      `${escaped(`${name}: ${bytesText(bytes, 1)}`)}</text>`
    );
  });
  const used = PARTS.filter((_, part) => drawn.some(({ bytes }) => bytes[part]! > 0));
  const legend = used.map((part) => `<span class="item"><span style="color:${part.colour}">■</span> ${part.name}</span>`);
  const far = lines
    .filter((line) => !near.includes(line))
    .map(({ name, bytes }) => `${name}: ${bytesText(bytes, 1)}, far above this picture`);
  return (
    widePicture(WIDTH, HEIGHT, "memory on the adapter by stage", [...grid, ...bars, ...names, ...limits]) +
    `<div style="margin: 0 0 1rem"><small>${[...legend, ...far.map(escaped)].join(" &nbsp; ")}</small></div>`
  );
}
