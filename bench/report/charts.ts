/** Charts as inline SVG: a roofline, bars, lines over time. Each is a string that needs nothing else. */
import { escaped } from "../../src/base/html.ts";
import type { BenchRecord } from "./record.ts";

const W = 760;
const COLOURS = ["#2563eb", "#ea580c", "#16a34a", "#9333ea", "#64748b"];
const svg = (height: number, label: string, body: string): string =>
  `<div class="scroll"><svg viewBox="0 0 ${W} ${height}" role="img" aria-label="${escaped(label)}">${body}</svg></div>`;
const text = (x: number, y: number, content: string, anchor = "start"): string =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}">${escaped(content)}</text>`;

/** So many cases can be told apart by colour. */
const MOST_COLOURED = 12;
const OTHERS = "#94a3b8";
/** Hues by the golden angle: however many there are, neighbours differ. */
const hue = (index: number): string => `hsl(${Math.round(215 + 137.5 * index) % 360} 70% 48%)`;

/**
 * Operations a byte against operations a second, both logarithmic; the roof is the ceiling of multiply-adds and that of copies without a
 * wait between, which is above the single copy that a case's share is of.
 */
export function roofline({ results, ceilings }: BenchRecord): string {
  const peak = ceilings.before.f32 ?? 1;
  const copy = Math.max(ceilings.before["copy 16 MiB"] ?? 0, ceilings.before["copy 64 MiB"] ?? 0) || 1;
  const points = results.flatMap(({ case: c, ours }) =>
    ours?.flops && ours.bytes ? [{ name: c.name, x: ours.flops / ours.bytes, y: ours.gflops, figure: c.target !== undefined }] : [],
  );
  if (points.length === 0) return "";
  const [left, top, right, bottom] = [60, 20, W - 20, 380];
  const xs = [0.05, Math.max(1000, ...points.map((p) => 2 * p.x))],
    ys = [Math.max(0.01, Math.min(0.05, ...points.map((p) => p.y / 2))), 2 * peak];
  const x = (v: number) =>
    left + ((Math.log(Math.max(v, xs[0]!)) - Math.log(xs[0]!)) / (Math.log(xs[1]!) - Math.log(xs[0]!))) * (right - left);
  const y = (v: number) => bottom - ((Math.log(v) - Math.log(ys[0]!)) / (Math.log(ys[1]!) - Math.log(ys[0]!))) * (bottom - top);
  const ridge = peak / copy;
  let body = `<path d="M${x(xs[0]!)} ${y(copy * xs[0]!)} L${x(ridge)} ${y(peak)} L${x(xs[1]!)} ${y(peak)}" class="roof"/>`;
  const chains = ceilings.before["16 chains"];
  if (chains)
    body +=
      `<path d="M${x(chains / copy)} ${y(chains)} L${x(xs[1]!)} ${y(chains)}" class="mark"/>` +
      text(right, y(chains) - 4, `16 chains, ${chains.toFixed(0)} GFLOP/s`, "end");
  body +=
    text(right, y(peak) - 4, `peak, ${peak.toFixed(0)} GFLOP/s`, "end") +
    text(x(xs[0]!) + 6, y(copy * xs[0]!) - 14, `copy, ${copy.toFixed(0)} GB/s`);
  for (let p = Math.ceil(Math.log10(xs[0]!)); 10 ** p <= xs[1]!; p++)
    body += `<path d="M${x(10 ** p)} ${top} V${bottom}" class="grid"/>${text(x(10 ** p), bottom + 16, `${10 ** p}`, "middle")}`;
  for (let p = Math.ceil(Math.log10(ys[0]!)); 10 ** p <= ys[1]!; p++)
    body += `<path d="M${left} ${y(10 ** p)} H${right}" class="grid"/>${text(left - 6, y(10 ** p) + 4, `${10 ** p}`, "end")}`;
  body += text((left + right) / 2, bottom + 34, "operations a byte", "middle") + text(left, top - 6, "GFLOP/s");
  // A colour for each case of the figures, or for all of a few cases; the others in grey, below them.
  const named = points.length <= MOST_COLOURED ? points : points.filter((p) => p.figure);
  for (const p of [...points.filter((p) => !named.includes(p)), ...named]) {
    const index = named.indexOf(p);
    const [radius, colour] = index < 0 ? [3.5, OTHERS] : [6, hue(index)];
    body +=
      `<circle cx="${x(p.x).toFixed(1)}" cy="${y(p.y).toFixed(1)}" r="${radius}" fill="${colour}">` +
      `<title>${escaped(p.name)}: ${p.y.toFixed(1)} GFLOP/s at ${p.x.toFixed(1)} operations a byte</title></circle>`;
  }
  const legend = named.map((p, i) => `<li><span style="color:${hue(i)}">●</span> ${escaped(p.name)}</li>`).join("");
  const others =
    points.length > named.length ? `<li><span style="color:${OTHERS}">●</span> other cases, named where a pointer rests</li>` : "";
  return `${svg(430, "roofline", body)}<ul class="legend">${legend}${others}</ul>`;
}

/** A group for each case: our time and each peer's, on one logarithmic scale. */
export function peerBars({ results, peers }: BenchRecord): string {
  const rows = results.filter((r) => r.ours && r.peers.some((p) => p.ms));
  if (rows.length === 0) return "";
  const most = Math.max(...rows.flatMap((r) => [r.ours!.ms.median, ...r.peers.map((p) => p.ms?.median ?? 0)]));
  const least = Math.min(...rows.flatMap((r) => [r.ours!.ms.median, ...r.peers.flatMap((p) => (p.ms ? [p.ms.median] : []))])) / 2;
  const length = (ms: number) => ((Math.log(ms) - Math.log(least)) / (Math.log(most) - Math.log(least))) * (W - 260);
  let body = "";
  let at = 10;
  for (const { case: c, ours, peers: theirs } of rows) {
    body += text(10, at + 12, c.name);
    at += 18;
    const bars = [
      { name: "Cogwheel", ms: ours!.ms.median, ratio: undefined as number | undefined, colour: COLOURS[0]! },
      ...peers.flatMap(({ id, name }, i) => {
        const p = theirs.find((t) => t.contender === id);
        return p?.ms ? [{ name, ms: p.ms.median, ratio: p.ratio?.median, colour: COLOURS[(i + 1) % COLOURS.length]! }] : [];
      }),
    ];
    for (const bar of bars) {
      const end = 120 + length(bar.ms);
      body +=
        `${text(114, at + 11, bar.name, "end")}<rect x="120" y="${at}" width="${length(bar.ms).toFixed(1)}" height="13" ` +
        `fill="${bar.colour}"/>` +
        text(end + 6, at + 11, `${bar.ms.toFixed(1)} ms${bar.ratio === undefined ? "" : ` (${bar.ratio.toFixed(2)} ×)`}`);
      at += 16;
    }
    at += 10;
  }
  return svg(at, "times of this engine and its peers, logarithmic", body);
}

/** Values over something that goes on; every line with its own name. */
export function lines(
  label: string,
  unit: string,
  series: readonly { readonly name: string; readonly points: readonly (readonly [x: number, y: number])[] }[],
  marks: readonly { readonly x: number; readonly name: string }[] = [],
): string {
  const all = series.flatMap((s) => s.points);
  if (all.length < 2) return "";
  const [left, top, right, bottom] = [60, 24, W - 140, 220];
  const [x0, x1] = [Math.min(...all.map((p) => p[0])), Math.max(...all.map((p) => p[0]))];
  const y1 = 1.1 * Math.max(...all.map((p) => p[1]));
  const x = (v: number) => left + ((v - x0) / (x1 - x0 || 1)) * (right - left);
  const y = (v: number) => bottom - (v / (y1 || 1)) * (bottom - top);
  let body =
    `<path d="M${left} ${top} V${bottom} H${right}" class="axis"/>${text(left, top - 8, unit)}` +
    text(left - 6, y(y1 / 1.1) + 4, (y1 / 1.1).toFixed(y1 < 20 ? 1 : 0), "end") +
    text(left - 6, bottom, "0", "end");
  for (const m of marks) body += `<path d="M${x(m.x).toFixed(1)} ${top} V${bottom}" class="grid"/>${text(x(m.x) + 3, bottom + 16, m.name)}`;
  series.forEach((s, i) => {
    const colour = COLOURS[i % COLOURS.length]!;
    const path = s.points.map((p, j) => `${j ? "L" : "M"}${x(p[0]).toFixed(1)} ${y(p[1]).toFixed(1)}`).join(" ");
    const last = s.points.at(-1)!;
    body += `<path d="${path}" fill="none" stroke="${colour}" stroke-width="1.5"/>${text(x(last[0]) + 6, y(last[1]) + 4, s.name)}`;
  });
  return svg(250, label, body);
}
