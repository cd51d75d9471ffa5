/** The loss by step, as it falls: each step's, and the mean over the last steps. */
import { svgElement, svgText } from "./svg.ts";

const SIZE = { width: 640, height: 240, left: 56, right: 16, top: 16, bottom: 36 };
/** So many steps are averaged: one step's loss says more of its timestep than of what was learned. */
const WINDOW = 20;

/** @param losses by step, from the first on @param steps of the whole run */
export function lossChart(losses: readonly number[], steps: number): SVGSVGElement {
  const svg = svgElement("svg", {
    viewBox: `0 0 ${SIZE.width} ${SIZE.height}`,
    role: "img",
    "aria-label": `Loss by step, ${losses.length} of ${steps} steps`,
  }) as SVGSVGElement;
  const finite = losses.filter(Number.isFinite);
  if (finite.length === 0) return svg;
  const most = finite.reduce((a, b) => Math.max(a, b)) * 1.05 || 1;
  const x = (step: number): number => SIZE.left + ((step - 1) / Math.max(1, steps - 1)) * (SIZE.width - SIZE.left - SIZE.right);
  const y = (loss: number): number => SIZE.height - SIZE.bottom - (loss / most) * (SIZE.height - SIZE.top - SIZE.bottom);
  for (const share of [0, 0.5, 1]) {
    const loss = share * most;
    svg.append(
      svgElement("line", { class: "axis", x1: SIZE.left, x2: SIZE.width - SIZE.right, y1: y(loss), y2: y(loss) }),
      svgText(loss === 0 ? "0" : loss.toPrecision(2), SIZE.left - 6, y(loss) + 4, "end"),
    );
  }
  svg.append(
    svgText("1", x(1), SIZE.height - 14, "middle"),
    svgText(`${steps} steps`, x(steps), SIZE.height - 14, "end"),
    svgText("loss", SIZE.width - SIZE.right, SIZE.top + 16, "end"),
  );
  for (const [i, loss] of losses.entries())
    if (Number.isFinite(loss)) svg.append(svgElement("circle", { class: "case", cx: x(i + 1), cy: y(loss), r: 1.5 }));
  const means = losses.map((_, i) => mean(losses.slice(Math.max(0, i + 1 - WINDOW), i + 1).filter(Number.isFinite)));
  const line = means.flatMap((value, i) => (value === undefined ? [] : [`${x(i + 1)},${y(value)}`]));
  svg.append(svgElement("polyline", { class: "limit", points: line.join(" ") }));
  return svg;
}

/** The mean over the last steps. */
export const recentLoss = (losses: readonly number[]): number => mean(losses.slice(-WINDOW)) ?? Number.NaN;

const mean = (values: readonly number[]): number | undefined =>
  values.length ? values.reduce((a, b) => a + b, 0) / values.length : undefined;
