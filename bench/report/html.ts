/** The report: one HTML file with everything in it, to be read without a network and to be sent. */
import { listedOnly } from "../cases/case.ts";
import { ceilingUnit, CEILINGS } from "../measure/ceiling.ts";
import { escaped } from "../../src/base/html.ts";
import { lines, peerBars, roofline } from "./charts.ts";
import { figures, milliseconds, percent, summary, times } from "./figures.ts";
import { loadTables } from "./loading.ts";
import { chosenBy, type BenchRecord, type IsaTable } from "./record.ts";

type Cell = string | { readonly text: string; readonly good: boolean };

/** Nothing where there are no rows: heads alone tell nothing, and a section without a body is left out. */
function htmlTable(heads: readonly string[], rows: readonly (readonly Cell[])[]): string {
  if (rows.length === 0) return "";
  const cell = (c: Cell) =>
    typeof c === "string"
      ? `<td${c.length > 24 ? ' class="long"' : ""}>${escaped(c)}</td>`
      : `<td class="${c.good ? "good" : "bad"}">${escaped(c.text)}</td>`;
  const head = heads.map((h) => `<th>${escaped(h)}</th>`).join("");
  const body = rows.map((r) => `<tr>${r.map(cell).join("")}</tr>`).join("\n");
  return `<div class="scroll"><table><thead><tr>${head}</tr></thead><tbody>${body}</tbody></table></div>`;
}
const section = (title: string, note: string, body: string): string =>
  body ? `<section><h2>${escaped(title)}</h2>${note ? `<p>${escaped(note)}</p>` : ""}${body}</section>` : "";
const against = (value: number | undefined, wanted: number | undefined, show: (v: number | undefined) => string): Cell =>
  value === undefined || wanted === undefined ? show(value) : { text: `${show(value)} (≥ ${show(wanted)})`, good: value >= wanted };

export function htmlReport(record: BenchRecord, earlier: readonly BenchRecord[], isa: readonly IsaTable[]): string {
  const { engine, peers, machine, ceilings, results, runtime, generation, readme } = record;
  const parts = [
    section(
      "Figures to reach",
      "Times against ONNX Runtime's WebGPU and shares of a mark, as the project set them for lavapipe (shares also " +
        "for SwiftShader). 16 chains: a plain loop of multiply-adds, which kernels can pass on CPU adapters; the peak is the ceiling.",
      htmlTable(
        ["case", "× ONNX Runtime", "share", "of", "of the peak"],
        figures(record).map((f) => [
          f.name,
          against(f.ratio, f.wantedRatio, times),
          against(f.share, f.wantedShare, percent),
          f.of ?? "",
          percent(results.find((r) => r.case.name === f.name)?.ours?.share.peak),
        ]),
      ),
    ),
    section(
      "The adapter's own ceilings",
      "Measured at the beginning and at the end of the run.",
      htmlTable(
        ["ceiling", "before", "after", ""],
        CEILINGS.filter((name) => ceilings.before[name]).map((name) => [
          name,
          ceilings.before[name]!.toFixed(1),
          ceilings.after[name]?.toFixed(1) ?? "–",
          ceilingUnit(name),
        ]),
      ),
    ),
    section("Roofline", "Every case under what the adapter's multiply-adds and its copy allow.", roofline(record)),
    section(
      "Cases",
      "Median, and half of what lies between the quartiles. " +
        "A peer's figure is its time over ours, measured in turn with it. Nothing is timed whose result is wrong.",
      htmlTable(
        [
          "case",
          "ms",
          "±",
          "GPU ms",
          "GFLOP/s",
          "16 chains",
          "peak",
          "GB/s",
          "copy",
          "attainable",
          ...peers.map((p) => `× ${p.name}`),
          "kernels chosen",
        ],
        results
          .filter((r) => r.ours)
          .map(({ case: c, ours, peers: theirs }) => [
            c.name,
            milliseconds(ours!.ms.median),
            percent(ours!.ms.spread),
            milliseconds(ours!.gpuMs),
            ours!.gflops.toFixed(1),
            percent(ours!.share.chains),
            percent(ours!.share.peak),
            ours!.gbytes.toFixed(1),
            percent(ours!.share.copy),
            percent(ours!.share.attainable),
            ...peers.map((p) => (listedOnly(c) ? "" : times(theirs.find((t) => t.contender === p.id)?.ratio?.median))),
            ours!.chosen ?? "–",
          ]),
      ),
    ),
    section("Against the peers", "Milliseconds on a logarithmic scale; in brackets the peer's time over ours.", peerBars(record)),
    section(
      "Notes on the peers",
      "",
      htmlTable(
        ["case", "peer", "note"],
        results.flatMap(({ case: c, peers: theirs }) =>
          theirs.flatMap((p) => [
            ...(p.failed ? [[c.name, p.contender, `not timed: ${p.failed}`]] : []),
            ...(p.cpuNodes
              ? [
                  [
                    c.name,
                    p.contender,
                    `${p.cpuNodes.cpu} of its ${p.cpuNodes.all} nodes on the CPU${p.variant ? `, as ${p.variant}` : ""}`,
                  ],
                ]
              : []),
            ...(p.notes ?? []).map((n) => [c.name, p.contender, n]),
          ]),
        ),
      ),
    ),
    ...(record.loading ? loadTables(record.loading) : []).map(({ title, heads, rows }) => section(title, "", htmlTable(heads, rows))),
    runtime
      ? section(
          "The runtime",
          "",
          htmlTable(
            ["what", "measured", "wanted"],
            [
              [
                "replaying a denoising step beside a bare loop of as many dispatches",
                { text: times(runtime.replay.ratio), good: runtime.replay.ratio <= 1.25 },
                "≤ 1.25 ×",
              ],
              [
                `made by ${runtime.allocation.replays} replays: buffers, bind groups, GPU bytes`,
                {
                  text: `${runtime.allocation.buffers}, ${runtime.allocation.bindGroups}, ${runtime.allocation.gpuBytes}`,
                  good: runtime.allocation.buffers + runtime.allocation.bindGroups + runtime.allocation.gpuBytes === 0,
                },
                "none",
              ],
              ["left on the heap by a replay", `${runtime.allocation.heapBytesAReplay.toFixed(0)} bytes`, "nothing that grows"],
              [
                "of a core, by the main thread while the GPU works",
                runtime.waiting
                  ? { text: percent(runtime.waiting.core), good: runtime.waiting.core < 0.25 }
                  : "not told apart by this system",
                "not a core",
              ],
              [
                "loading a wide matrix from memory, packed and uploaded, beside a plain copy of as many bytes",
                `${times(runtime.loading.ms / runtime.loading.copyMs)} ` +
                  `(${(runtime.loading.bytes / 1e3 / runtime.loading.ms).toFixed(0)} MB/s)`,
                "nothing slower",
              ],
              [
                "activations planned for a denoising step, as a multiple of the most alive at once",
                {
                  text: times(runtime.memory.activations / runtime.memory.lowerBound),
                  good: runtime.memory.activations / runtime.memory.lowerBound <= 1.1,
                },
                "≤ 1.10 ×",
              ],
            ],
          ),
        )
      : "",
    generation
      ? section(
          "A generation with the embedded model",
          `${JSON.stringify(generation.settings)}${
            readme
              ? "; as the README's command, in a process of its own: " +
                `${readme.seconds.toFixed(1)} s, peak resident memory ${readme.peakMB} MB`
              : ""
          }`,
          htmlTable(
            ["", "seconds", "pipelines compiled", "seconds of compiling", ...Object.keys(generation.cold.stages)],
            (
              [
                ["first", generation.cold],
                ["second", generation.warm],
              ] as const
            ).map(([name, g]) => [
              name,
              g.seconds.toFixed(2),
              name === "second" ? { text: String(g.pipelines), good: g.pipelines === 0 } : String(g.pipelines),
              g.compileSeconds.toFixed(2),
              ...Object.keys(generation.cold.stages).map((s) => `${g.stages[s]?.toFixed(2) ?? "–"} s`),
            ]),
          ) + memoryTimeline(generation),
        )
      : "",
    generation
      ? section(
          "GPU time by kernel, one generation",
          generation.timestamps ? "" : "This adapter has no timestamps: counts and costs alone.",
          htmlTable(
            ["kernel", "runs", "ms", "share", "GFLOP/s", "of the peak", "GB/s"],
            generation.kernels.map((k) => [
              k.label,
              String(k.count),
              k.ms.toFixed(1),
              percent(k.share),
              k.gflops.toFixed(2),
              percent(k.gflops / (ceilings.before.f32 ?? Infinity)),
              k.gbytes.toFixed(2),
            ]),
          ),
        )
      : "",
    section("Earlier runs on this adapter", "Share of what the roofline allows, run by run.", historyChart([...earlier, record])),
    ...isa.map(({ title, folded, rows }) => {
      const shown = rows.length
        ? htmlTable(
            Object.keys(rows[0]!),
            rows.map((row) => Object.values(row).map(String)),
          )
        : "";
      return section(title, "", shown && folded ? `<details><summary>${rows.length} rows</summary>${shown}</details>` : shown);
    }),
    section(
      "What could not be measured",
      "",
      record.failures.length + record.missing.length
        ? `<ul>${[...record.failures, ...record.missing].map((f) => `<li>${escaped(f)}</li>`).join("")}</ul>`
        : "",
    ),
    section(
      "Versions",
      "",
      htmlTable(
        ["", "version", "adapter", "note"],
        [engine, ...peers].map((p) => [p.name, p.version, p.adapter, p.note ?? ""]),
      ),
    ),
    section("Capabilities", "", `<pre>${escaped(JSON.stringify(engine.capabilities, null, 2) ?? "")}</pre>`),
  ];
  const sentence = summary(record);
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>Cogwheel bench, ${escaped(engine.adapter)}</title>
<meta name="viewport" content="width=device-width"><style>${STYLE}</style>
<h1>Cogwheel bench</h1>${sentence ? `<p class="lead">${escaped(sentence)}</p>\n` : ""}<p>${escaped(
    `${engine.adapter} · ${machine.cores} × ${machine.cpu}, ${machine.memoryGB.toFixed(0)} GB, ${machine.system}, ` +
      `Node ${machine.node} · ${record.date} · ${record.command}`,
  )}</p>
<p>${escaped(chosenBy(engine))}</p>
<p>${escaped(
    "A run is: inputs and weights on the device, from the call until the result is whole there, " +
      `which a read-back of a few bytes or the empty queue tells. Checked in this run: ${record.checked.join("; ")}.`,
  )}</p>
${parts.join("\n")}
<script type="application/json" id="record">${JSON.stringify(record).replaceAll("<", "\\u003c")}</script></html>\n`;
}

function memoryTimeline({ memory }: NonNullable<BenchRecord["generation"]>): string {
  const stages = memory.filter((m, i) => m.stage !== memory[i - 1]?.stage);
  return lines(
    "memory over a generation",
    "MB",
    [
      { name: "GPU buffers", points: memory.map((m) => [m.seconds, m.gpuBytes / 1e6]) },
      { name: "resident", points: memory.map((m) => [m.seconds, m.residentBytes / 1e6]) },
    ],
    stages.map((m) => ({ x: m.seconds, name: m.stage })),
  );
}

function historyChart(records: readonly BenchRecord[]): string {
  if (records.length < 2) return "";
  const names = [
    ...new Set(
      records
        .at(-1)!
        .results.filter((r) => r.case.target && r.ours)
        .map((r) => r.case.name),
    ),
  ];
  const series = names.map((name) => ({
    name: name.split(/[ ,]/).slice(0, 2).join(" "),
    points: records.flatMap((r, i) => {
      const ours = r.results.find((x) => x.case.name === name)?.ours;
      return ours ? [[i, 100 * ours.share.attainable] as const] : [];
    }),
  }));
  return (
    lines("history", "% attainable", series) +
    htmlTable(
      ["run", ...names],
      records
        .slice(-20)
        .map((r) => [
          r.date.slice(0, 16),
          ...names.map((name) => milliseconds(r.results.find((x) => x.case.name === name)?.ours?.ms.median)),
        ]),
    )
  );
}

const STYLE = `:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;
color:#1e293b;background:#fff}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2.2rem}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:.25rem .7rem;text-align:right;border-bottom:1px solid #e2e8f0;white-space:nowrap}
td:first-child,th:first-child{text-align:left}
td.long{text-align:left;white-space:normal;min-width:11rem;max-width:46rem;overflow-wrap:anywhere}
.lead{font-size:1.1rem}.legend{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.1rem 1.2rem}
.scroll{overflow-x:auto}.good{color:#15803d}.bad{color:#b91c1c}
svg{width:100%;min-width:640px;height:auto}svg text{font:11px system-ui,sans-serif;fill:#334155}
.roof{fill:none;stroke:#0f172a;stroke-width:2}.mark{fill:none;stroke:#94a3b8;stroke-dasharray:5 4}
.grid{stroke:#e2e8f0}.axis{fill:none;stroke:#94a3b8}
pre{background:#f8fafc;padding:1rem;overflow-x:auto}
@media(prefers-color-scheme:dark){body{background:#0f172a;color:#e2e8f0}td,th{border-color:#334155}
svg text{fill:#cbd5e1}.roof{stroke:#f8fafc}.grid{stroke:#334155}
pre{background:#1e293b}.good{color:#4ade80}.bad{color:#f87171}}`;
