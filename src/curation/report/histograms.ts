/**
 * How the clips' scores are spread, each with a threshold that moves: the counts of what stays and of what each threshold drops change with
 * it, and the expression that says so stands below, to be copied into the config.
 */
import { escaped } from "../../base/html.ts";
import { colour } from "../../base/report-colours.ts";
import { json } from "./html.ts";
import type { ReportedClip } from "./reported.ts";

/** A part of the filter. Of those that are no comparison with a number, each clip's verdict is known, and does not move. */
export type ReportedPart = { readonly text: string } & (
  | { readonly column: string; readonly sign: string; readonly value: number }
  | { readonly takes: readonly boolean[] }
);

const COMPARISON = /^\s*(?:scores\.)?([\w.]+)\s*(>=|<=|>|<)\s*(-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*$/;

/** @param takes the part's verdict of each clip */
export function reportedPart(text: string, scores: readonly string[], takes: () => readonly boolean[]): ReportedPart {
  const [, column, sign, value] = COMPARISON.exec(text) ?? [];
  return column !== undefined && scores.includes(column) ? { text, column, sign: sign!, value: Number(value) } : { text, takes: takes() };
}

const BINS = 40;
const [WIDTH, HEIGHT] = [260, 90];

export function histograms(clips: readonly ReportedClip[], parts: readonly ReportedPart[]): string {
  const [first] = clips;
  if (!first) return "";
  const names = Object.keys(first.scores);
  const columns = Object.fromEntries(names.map((name) => [name, clips.map(({ scores }) => scores[name] ?? null)]));
  const charts = names.map((name) =>
    chart(
      name,
      columns[name]!,
      parts.find((part) => "column" in part && part.column === name),
    ),
  );
  const fixed = parts.flatMap((part) => ("takes" in part ? [part] : []));
  const data = {
    columns,
    fixed: fixed.map(({ text, takes }) => ({ text, takes: takes.map(Number) })),
    duplicates: clips.map(({ duplicateOf, reason }) => Number(duplicateOf !== undefined && reason === "duplicate")),
  };
  return (
    `<h2>Measures</h2><p>Choose a sign and move the line: <b id="kept"></b></p><table id="lost"></table>` +
    `<p><code id="where"></code></p><div class="curves">${charts.join("")}</div>` +
    `<script>const data = ${json(data)};\n${SCRIPT}</script>`
  );
}

function chart(name: string, values: readonly (number | null)[], part: ReportedPart | undefined): string {
  const finite = values.filter((value) => value !== null && Number.isFinite(value)) as number[];
  if (finite.length === 0) return "";
  const [low, high] = finite.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)] as const, [Infinity, -Infinity] as const);
  const span = high - low || 1;
  const counts = new Array<number>(BINS).fill(0);
  for (const value of finite) counts[Math.min(BINS - 1, Math.floor((BINS * (value - low)) / span))]!++;
  const top = Math.max(...counts);
  const bars = counts
    .map((count, i) => {
      const height = (HEIGHT * count) / top;
      const y = (HEIGHT - height).toFixed(1);
      return `<rect x="${(i * WIDTH) / BINS}" y="${y}" width="${WIDTH / BINS - 1}" height="${height.toFixed(1)}" fill="${colour("sky")}"/>`;
    })
    .join("");
  const own = part && "column" in part ? part : undefined;
  const signs = ["", ">", ">=", "<", "<="].map(
    (sign) => `<option${sign === (own?.sign ?? "") ? " selected" : ""}>${escaped(sign)}</option>`,
  );
  return (
    `<section data-column="${escaped(name)}" data-low="${low}" data-span="${span}"><header><b>${escaped(name)}</b>` +
    `<select aria-label="sign of ${escaped(name)}">${signs.join("")}</select>` +
    `<input type="number" step="any" value="${own?.value ?? ""}" aria-label="value of ${escaped(name)}"></header>` +
    `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="${escaped(name)}">${bars}` +
    `<rect class="cut" y="0" height="${HEIGHT}" fill="${colour("page")}" opacity="0.7"/>` +
    `<line y1="0" y2="${HEIGHT}" stroke="${colour("red")}" stroke-width="2" vector-effect="non-scaling-stroke"/></svg>` +
    `<input type="range" min="0" max="1000" aria-label="threshold of ${escaped(name)}">` +
    `<div class="ends"><small>${shownNumber(low)}</small><small>${shownNumber(high)}</small></div></section>`
  );
}

const shownNumber = (value: number): string => String(Number(value.toPrecision(3)));

const SCRIPT = `
const sections = [...document.querySelectorAll("section[data-column]")];
const tests = { ">": (a, b) => a > b, ">=": (a, b) => a >= b, "<": (a, b) => a < b, "<=": (a, b) => a <= b };
function count() {
  const own = sections.flatMap((section) => {
    const sign = section.querySelector("select").value;
    const value = Number(section.querySelector("input[type=number]").value);
    const { column } = section.dataset;
    return sign ? [{ text: column + " " + sign + " " + value, values: data.columns[column], takes: tests[sign], value }] : [];
  });
  const lost = new Map([...data.fixed, ...own].map(({ text }) => [text, 0]).concat([["duplicate", 0]]));
  let kept = 0;
  for (let i = 0; i < data.duplicates.length; i++) {
    // What is null was not asked for, because something else dropped the clip.
    const fails = ({ values, takes, value }) => values[i] !== null && !takes(values[i], value);
    const by = data.fixed.find(({ takes }) => !takes[i]) ?? own.find(fails);
    const unknown = own.find(({ values }) => values[i] === null);
    const reason = by ? by.text : data.duplicates[i] ? "duplicate" : unknown?.text;
    if (reason === undefined) kept++;
    else lost.set(reason, lost.get(reason) + 1);
  }
  document.getElementById("kept").textContent = kept + " of " + data.duplicates.length + " clips stay";
  const table = document.getElementById("lost");
  table.replaceChildren(...[...lost].map(([reason, n]) => {
    const row = document.createElement("tr");
    for (const text of [reason, n]) row.appendChild(document.createElement("td")).textContent = text;
    return row;
  }));
  document.getElementById("where").textContent = [...data.fixed, ...own].map(({ text }) => text).join(" && ");
}
for (const section of sections) {
  const { low, span } = section.dataset;
  const parts = ["select", "input[type=number]", "input[type=range]", "svg", ".cut", "line"];
  const [sign, number, range, chart, cut, line] = parts.map((name) => section.querySelector(name));
  const place = () => {
    if (sign.value && number.value === "") number.value = Number(Number(low).toPrecision(4));
    const share = number.value === "" ? 0 : Math.min(1, Math.max(0, (Number(number.value) - low) / span));
    range.value = 1000 * share;
    for (const end of ["x1", "x2"]) line.setAttribute(end, ${WIDTH} * share);
    const above = sign.value.startsWith(">");
    cut.setAttribute("x", above ? 0 : ${WIDTH} * share);
    cut.setAttribute("width", ${WIDTH} * (above ? share : 1 - share));
    for (const mark of [line, cut]) mark.style.display = sign.value ? "" : "none";
    count();
  };
  const move = (share) => {
    sign.value ||= ">=";
    number.value = Number((Number(low) + span * Math.min(1, Math.max(0, share))).toPrecision(4));
    place();
  };
  range.oninput = () => move(range.value / 1000);
  const drag = (event) => move((event.clientX - chart.getBoundingClientRect().left) / chart.clientWidth);
  chart.onpointerdown = (event) => {
    chart.setPointerCapture(event.pointerId);
    chart.onpointermove = drag;
    drag(event);
  };
  chart.onpointerup = chart.onpointercancel = () => { chart.onpointermove = null; };
  number.oninput = sign.onchange = place;
  place();
}
`;
