/** The panel that measures this GPU and draws where the engine stands under its roofline. */
import type { CeilingRates } from "../bench/measure/ceiling.ts";
import type { BenchmarkNews, BenchmarkReport, BenchmarkRow } from "./benchmark-worker.ts";
import { WorkerError, type Client } from "./client.ts";
import { byId, fillTable } from "./dom.ts";
import { svgElement, svgText } from "./svg.ts";
import type { Tell } from "./trouble.ts";

const HEAD = ["#", "Case", "ms", "GFLOP/s", "GB/s", "Of what is attainable"];

export function benchmarkPanel(client: Client, tell: Tell): void {
  const [start, cancel, copy] = [
    byId<HTMLButtonElement>("bench-start"),
    byId<HTMLButtonElement>("bench-cancel"),
    byId<HTMLButtonElement>("bench-copy"),
  ];
  const doing = byId("bench-doing");
  let report: BenchmarkReport | undefined;

  start.addEventListener("click", async () => {
    tell(null);
    start.hidden = true;
    cancel.hidden = false;
    copy.hidden = true;
    let ceilings: CeilingRates = {};
    let of = 0;
    const rows: BenchmarkRow[] = [];
    const show = (): void => {
      fillTable(
        byId<HTMLTableElement>("bench-table"),
        HEAD,
        rows.map((row, i) => [String(i + 1), ...cellsOf(row)]),
      );
      byId("bench-chart").replaceChildren(roofline(ceilings, rows));
    };
    doing.textContent = "Measuring what this adapter can do at best …";
    try {
      report = await client.ask<BenchmarkReport>({ type: "benchmark" }, (news) => {
        if (news.type !== "row") return;
        const row = news.row as BenchmarkNews;
        if ("ceilings" in row) ({ ceilings, of } = row);
        else rows.push(row);
        doing.textContent = `${rows.length} of ${of} cases measured …`;
        show();
      });
      doing.textContent = `Done on ${report.adapter}.`;
      copy.hidden = false;
    } catch (error) {
      doing.textContent = error instanceof WorkerError && error.cancelled ? "Stopped." : "";
      if (!(error instanceof WorkerError && error.cancelled)) tell((error as Error).message);
    } finally {
      start.hidden = false;
      cancel.hidden = true;
    }
  });
  cancel.addEventListener("click", () => client.cancel("benchmark"));
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(JSON.stringify(report, null, 2)).then(
      () => {
        doing.textContent = "The report is copied.";
      },
      () => tell("The browser did not allow copying."),
    );
  });
}

function cellsOf(row: BenchmarkRow) {
  if (row.failed !== undefined) return [row.name, { text: row.failed, name: "fail" }, "", "", ""];
  const number = (text: string) => ({ text, name: "number" });
  return [
    row.name,
    number(`${figure(row.ms!)} ± ${Math.round(100 * row.spread!)} %`),
    number(figure(row.gflops!)),
    number(figure(row.gbytes!)),
    number(`${Math.round(100 * row.attainable!)} %`),
  ];
}

const figure = (v: number): string => (v >= 100 ? v.toFixed(0) : v.toPrecision(3));

const SIZE = { width: 640, height: 320, left: 56, right: 16, top: 16, bottom: 40 };

/** Both axes logarithmic: what a case does for each byte, and how fast; points bear the numbers of the table. */
function roofline(ceilings: CeilingRates, rows: readonly BenchmarkRow[]): SVGSVGElement {
  const svg = svgElement("svg", {
    viewBox: `0 0 ${SIZE.width} ${SIZE.height}`,
    role: "img",
    "aria-label": "Roofline: speed of each case under the adapter's ceilings",
  }) as SVGSVGElement;
  const peak = ceilings.f32;
  const copy = ceilings["copy 64 MiB"] ?? ceilings["copy 16 MiB"];
  if (!peak || !copy) return svg;
  const timed = rows.filter((row) => row.gflops !== undefined);
  const [xLeast, xMost] = [0.1, Math.max(1000, ...timed.map((row) => 2 * row.intensity!))];
  const [yLeast, yMost] = [Math.min(copy * xLeast, ...timed.map((row) => row.gflops!)) / 2, peak * 2];
  const x = (v: number): number => SIZE.left + (Math.log(v / xLeast) / Math.log(xMost / xLeast)) * (SIZE.width - SIZE.left - SIZE.right);
  const y = (v: number): number =>
    SIZE.height - SIZE.bottom - (Math.log(v / yLeast) / Math.log(yMost / yLeast)) * (SIZE.height - SIZE.top - SIZE.bottom);
  for (let tick = 10 ** Math.ceil(Math.log10(yLeast)); tick <= yMost; tick *= 10) {
    svg.append(
      svgElement("line", { class: "axis", x1: SIZE.left, x2: SIZE.width - SIZE.right, y1: y(tick), y2: y(tick) }),
      svgText(figure(tick), SIZE.left - 6, y(tick) + 4, "end"),
    );
  }
  for (let tick = xLeast; tick <= xMost; tick *= 10) {
    svg.append(
      svgElement("line", { class: "axis", x1: x(tick), x2: x(tick), y1: SIZE.top, y2: SIZE.height - SIZE.bottom }),
      svgText(String(+tick.toPrecision(1)), x(tick), SIZE.height - SIZE.bottom + 16, "middle"),
    );
  }
  svg.append(
    svgElement("polyline", {
      class: "limit",
      points: [
        [xLeast, copy * xLeast],
        [peak / copy, peak],
        [xMost, peak],
      ]
        .map(([a, b]) => `${x(a!)},${y(b!)}`)
        .join(" "),
    }),
  );
  svg.append(
    svgText("operations a byte", SIZE.width - SIZE.right, SIZE.height - 6, "end"),
    svgText("GFLOP/s", SIZE.left + 6, SIZE.top + 10, "start"),
  );
  for (const row of timed) {
    const point = svgElement("circle", { class: "case", cx: x(row.intensity!), cy: y(row.gflops!), r: 5 });
    const title = svgElement("title", {});
    title.textContent = `${row.name}: ${figure(row.gflops!)} GFLOP/s, ${Math.round(100 * row.attainable!)} % of what is attainable`;
    point.append(title);
    svg.append(point, svgText(String(rows.indexOf(row) + 1), x(row.intensity!) + 9, y(row.gflops!) + 4, "start"));
  }
  return svg;
}
