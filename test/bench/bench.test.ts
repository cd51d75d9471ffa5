/** The bench's own reasoning: what it takes for right, for slower, and what it writes. */
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { draw, permute, type BenchCase } from "../../bench/cases/case.ts";
import { adaLnCase, attentionCase, convCase, groupNormCase, matmulCase } from "../../bench/cases/figures.ts";
import { listedCases, listed } from "../../bench/cases/listed.ts";
import { spotError } from "../../bench/cases/spot.ts";
import { builders } from "../../bench/contenders/builders.ts";
import { summarise } from "../../bench/measure/statistics.ts";
import type { CaseResult } from "../../bench/measure/contest.ts";
import { Ceilings, type CeilingRates } from "../../bench/measure/ceiling.ts";
import { measureLoading } from "../../bench/measure/loading.ts";
import { RunClock } from "../../bench/measure/clock.ts";
import { compareRuns } from "../../bench/report/compare.ts";
import { summary } from "../../bench/report/figures.ts";
import { htmlReport } from "../../bench/report/html.ts";
import { chosenBy, isaTables, type BenchRecord } from "../../bench/report/record.ts";
import { packageRoot } from "../../src/cli/package-root.ts";
import { UPLOAD_BYTES } from "../../src/gpu/uploader.ts";
import { compile } from "../../src/plan/compile.ts";
import { Program } from "../../src/run/program.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { storedValues } from "../../src/run/weight-provider.ts";
import { testGpu } from "../support/gpu.ts";

const small: readonly BenchCase[] = [
  matmulCase({ m: 19, k: 36, n: 28 }),
  attentionCase({ heads: 3, length: 21, width: 16 }),
  convCase({ cin: 8, cout: 12, taps: 3, frames: 3, height: 5, width: 7 }),
  convCase({ cin: 8, cout: 12, taps: 1, frames: 1, height: 9, width: 6 }),
  adaLnCase({ rows: 9, width: 68 }),
  groupNormCase({ frames: 2, height: 5, width: 6, channels: 16, groups: 4 }),
];

async function compute(c: BenchCase): Promise<Float32Array> {
  const gpu = await testGpu();
  const { graph, inputs, read } = builders[c.kind]!(c);
  using store = new WeightStore(gpu, { type: () => "f32", stored: (name) => storedValues(name, draw(c.weights[name]!)) });
  using program = await Program.create(gpu, compile(graph, gpu.caps), store);
  await program.run({ inputs });
  const y = await program.read("y");
  return read ? read(y) : y;
}

describe.each(small.map((c) => [c.name, c] as const))("%s", (_, c) => {
  test("the engine's result passes the spot check, a wrong one does not", async () => {
    const right = await compute(c);
    expect(spotError(c, right)).toBeLessThan(c.tolerance);
    // Right values in wrong places are the mistake that a layout makes.
    expect(
      spotError(
        c,
        right.map((_v, i) => right[(i + 1) % right.length]!),
      ),
    ).toBeGreaterThan(0.1);
    expect(
      spotError(
        c,
        right.map((v) => 1.0001 * v),
      ),
    ).toBeGreaterThan(c.tolerance);
  });
});

test("every model case of the ops' lists is there once", () => {
  expect(listedCases.length).toBeGreaterThan(30);
  expect(new Set(listedCases.map((c) => c.name)).size).toBe(listedCases.length);
  for (const c of listedCases) expect(listed(c.sizes).c.size).toBe("model");
});

test("permute turns axes", () => {
  const data = Float32Array.from({ length: 24 }, (_, i) => i);
  const turned = permute(data, [2, 3, 4], [2, 0, 1]);
  for (let a = 0; a < 2; a++)
    for (let b = 0; b < 3; b++) for (let c = 0; c < 4; c++) expect(turned[(c * 2 + a) * 3 + b]).toBe(data[(a * 3 + b) * 4 + c]);
});

/** A run with one case, as fast as `ms` on an adapter as fast as `peak`. */
function run(ms: number[], peak: number): BenchRecord {
  const c = matmulCase({ m: 64, k: 64, n: 64 }, { ratio: 2, ceiling: "multiply-add", share: { lavapipe: 0.5 } });
  const result: CaseResult = {
    case: c,
    peers: [{ contender: "onnxruntime", ms: summarise([2 * ms[0]!]), ratio: summarise([2]), notes: ["<b>slower</b>"] }],
    ours: {
      flops: 5e5,
      bytes: 5e4,
      ms: summarise(ms),
      gflops: 1,
      gbytes: 1,
      share: { chains: 0.6, peak: 0.2, copy: 0.1, attainable: 0.2 },
      ceilings: { f32: peak, copy: 20 },
    },
  };
  return {
    date: "2026-01-01T00:00:00.000Z",
    command: "npm run bench",
    machine: { system: "linux", cpu: "a CPU", cores: 2, memoryGB: 4, node: "v20" },
    engine: { name: "Cogwheel", version: "0", adapter: "an adapter", kinds: [] },
    peers: [{ id: "onnxruntime", name: "ONNX Runtime", version: "1", adapter: "its own", kinds: [] }],
    missing: ["jax is not installed"],
    ceilings: { before: { f32: peak, "16 chains": peak / 3, "copy 16 MiB": 20 }, after: {} },
    checked: [],
    results: [result],
    failures: [],
  };
}

describe("compareRuns", () => {
  const quiet = [10, 10.05, 9.95];
  test("a slower kernel is a regression, a slower machine is not", () => {
    expect(compareRuns(run(quiet, 100), run([13, 13.1, 12.9], 100))[0]!.verdict).toBe("slower");
    expect(compareRuns(run(quiet, 100), run([20, 20.1, 19.9], 50))[0]!.verdict).toBe("same");
    expect(compareRuns(run(quiet, 100), run([5, 5.1, 4.9], 100))[0]!.verdict).toBe("faster");
  });
  test("a record of a bench that measured another copy is compared by the clock", () => {
    const bound = (copy: boolean): BenchRecord => {
      const record = run(quiet, 100);
      const ceilings: CeilingRates = copy ? { f32: 100, copy: 24 } : { f32: 100, "copy 16 MiB": 24 };
      return { ...record, results: record.results.map((r) => ({ ...r, ours: { ...r.ours!, flops: 1, bytes: 1e9, ceilings } })) };
    };
    expect(compareRuns(bound(false), bound(true))[0]).toMatchObject({ ratio: 1, verdict: "same" });
    expect(compareRuns(bound(true), bound(true))[0]).toMatchObject({ ratio: 1, verdict: "same" });
  });
  test("what noise explains is no regression", () => {
    expect(compareRuns(run([8, 10, 12], 100), run([10, 12, 14], 100))[0]!.verdict).toBe("same");
  });
});

test("a run's wait is predicted for long runs alone, by half of the least time, and a late sleep is not learnt", async () => {
  let now = 0;
  const clock = vi.spyOn(performance, "now").mockImplementation(() => now);
  try {
    // A wait sleeps as long as it is told, and ends 2 ms late; then it polls.
    const run = async (own: RunClock, work: number): Promise<{ predicted: number; ms: number }> => {
      let told = NaN;
      const ms = await own.time(
        () => {
          now += 1;
        },
        async (predicted) => {
          told = predicted;
          now += Math.max(work - 1, predicted > 0 ? predicted + 2 : 0);
        },
      );
      return { predicted: told, ms };
    };
    const short = new RunClock();
    for (const work of [39, 3, 39, 3]) expect(await run(short, work)).toEqual({ predicted: 0, ms: work });
    const long = new RunClock();
    expect(await run(long, 100)).toEqual({ predicted: 0, ms: 100 });
    expect(await run(long, 80)).toEqual({ predicted: 49, ms: 80 });
    expect(await run(long, 100)).toEqual({ predicted: 39, ms: 100 });
  } finally {
    clock.mockRestore();
  }
});

test("a copy beside a case is of as many bytes", async () => {
  using ceilings = await Ceilings.create(await testGpu());
  const { copy, ...others } = await ceilings.measure(1, ["copy"], 3 << 20);
  expect(copy).toBeGreaterThan(0);
  expect(others).toEqual({});
  expect(ceilings.besideBytes).toBe(3 << 20);
});

test("the report is one file without addresses, and holds the whole run", () => {
  const record = run([10, 10, 10], 100);
  const html = htmlReport(record, [run([12, 12, 12], 100)], [{ title: "by a compiler", rows: [{ kernel: "matmul_tiled", share: 92 }] }]);
  expect(html).not.toMatch(/(src|href)=|https?:|@import/);
  expect(html).toContain("&lt;b&gt;slower&lt;/b&gt;");
  expect(html.match(/<svg /g)!.length).toBeGreaterThanOrEqual(3); // roofline, bars, history
  expect(html).toContain("2.00 × (≥ 2.00 ×)");
  const kept = /<script type="application\/json" id="record">(.*)<\/script>/.exec(html)![1]!;
  expect(JSON.parse(kept)).toEqual(JSON.parse(JSON.stringify(record)));
});

test("a report begins with a sentence of what was found, and colours its cases", () => {
  const record = run([10, 10, 10], 100);
  const sentence = summary(record);
  expect(sentence).toBe(
    "1 case on an adapter: 20 % of what its multiply-adds and its copy allow; 2.00 × as fast as ONNX Runtime (1 case). " +
      "Figures to reach: 2 of 2 reached.",
  );
  expect(htmlReport(record, [], [])).toContain(`<p class="lead">${sentence}</p>`);
  expect(summary({ ...record, results: [] })).toBe("");
  const many = Array.from({ length: 3 }, (_, i) => ({ ...record.results[0]!, case: { ...record.results[0]!.case, name: `case ${i}` } }));
  const colours = [...htmlReport({ ...record, results: many }, [], []).matchAll(/<li><span style="color:(hsl[^"]+)">●<\/span> case/g)];
  expect(new Set(colours.map(([, colour]) => colour)).size).toBe(3);
});

test("loading is measured, and takes bounded memory besides the weight", async () => {
  const { bytes, ms, copyMs, besides } = await measureLoading(await testGpu(), 2);
  expect(bytes).toBe(2 * 10240 * 4096);
  expect(ms > 0 && copyMs > 0).toBe(true);
  // The uploader's buffers, and what an unpacking is told.
  expect(besides).toBeGreaterThan(1 << 20);
  expect(besides).toBeLessThanOrEqual(UPLOAD_BYTES + 4096);
});

test("the report says what kernels were chosen by", () => {
  const record = run([10, 10, 10], 100);
  const tuning = { file: "llvmpipe-1a2b3c4d.json", written: "2026-01-01T12:34:56.000Z", kernels: "0123456789ab", works: 7 };
  const [tuned, untuned] = [tuning, null].map(
    (table): BenchRecord => ({
      ...record,
      engine: { ...record.engine, tuning: table },
      results: record.results.map((r) => ({ ...r, ours: { ...r.ours!, chosen: table ? "partly tuned" : "by capability" } })),
    }),
  );
  expect(chosenBy(tuned!.engine)).toContain(
    "tuning table llvmpipe-1a2b3c4d.json of 2026-01-01 12:34 (kinds of work: 7; kernels 0123456789ab)",
  );
  expect(chosenBy(untuned!.engine)).toMatch(/what the adapter can do.*no tuning table/);
  for (const [one, chosen] of [
    [tuned!, "partly tuned"],
    [untuned!, "by capability"],
  ] as const) {
    const html = htmlReport(one, [], []);
    expect(html).toContain(`<p>${chosenBy(one.engine)}</p>`);
    expect(html).toContain(`<td>${chosen}</td>`);
    expect(html, "a table of nothing").not.toContain("<tbody></tbody>");
  }
});

test("what AMD's compiler made of the kernels is in the report", () => {
  const [heavy, kernels, variants] = isaTables(join(packageRoot, "bench/results"));
  expect(heavy!.rows.find((row) => String(row["kernel"]).startsWith("matmul_tiled"))).toMatchObject({
    spills: 0,
    "useful share": expect.stringMatching(/^9\d\.\d %$/) as string,
  });
  expect(heavy!.rows.some((row) => /^ONNX Runtime \d/.test(String(row["kernel"])))).toBe(true);
  expect(kernels!.rows.map((row) => row["kernel"])).toEqual(expect.arrayContaining(["layer_norm", "scheduler_step", "qk_norm_rope"]));
  expect(variants!.rows.length).toBeGreaterThan(200);
  for (const { rows } of [heavy!, kernels!, variants!])
    for (const row of rows) for (const value of Object.values(row)) expect(["string", "number"]).toContain(typeof value);
});
