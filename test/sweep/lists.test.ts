/** One name finds all of an op: src/ops/NAME.ts, its list src/check/sweep/cases/NAME.ts, and its test test/ops/NAME.test.ts. */
import { readFileSync, readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { allCases } from "#sweep-cases";
import { Graph } from "../../src/graph/graph.ts";
import type { Op } from "../../src/graph/op.ts";
import type { OpCases } from "../../src/check/sweep/case.ts";
import { Draw } from "../../src/check/sweep/draw.ts";
import { kernelsWithoutCases } from "../../src/check/sweep/coverage.ts";

const root = new URL("../../", import.meta.url);
const names = (folder: string, end: string): string[] =>
  readdirSync(new URL(folder, root))
    .filter((file) => file.endsWith(end))
    .map((file) => file.slice(0, -end.length));
const camel = (name: string): string => name.replace(/_([a-z0-9])/g, (_, c: string) => c.toUpperCase());

/** Ops whose kernels take seconds to compile: their tests have fewer cases of their own, and use the list's reference. */
const SLOW = ["attention", "attention_gradient", "conv3d", "conv3d_gradient_w", "conv3d_gradient_x", "matmul", "matmul_nn", "matmul_tn"];

/** The ops that the cases of a list record. */
function recorded({ cases }: OpCases): Set<Op> {
  return new Set(
    cases.flatMap((c) =>
      (["f32", "f16"] as const).flatMap((precision) => {
        const graph = new Graph(c.name);
        c.record(new Draw(graph, precision, c.half));
        return graph.nodes.map((node) => node.op);
      }),
    ),
  );
}

const ops = names("src/ops/", ".ts");

test.each([
  ["src/check/sweep/cases/", ".ts"],
  ["test/ops/", ".test.ts"],
])("%s has a file of every op's name, and no others", (folder, end) => {
  const found = names(folder, end);
  expect(ops.filter((op) => !found.includes(op)).map((op) => `${folder}${op}${end} is missing`)).toEqual([]);
  expect(found.filter((name) => !ops.includes(name)).map((name) => `${folder}${name}${end} is of no op in src/ops`)).toEqual([]);
});

test("a list has the name of its file", () => {
  expect(allCases.map(({ op }) => op)).toEqual(names("src/check/sweep/cases/", ".ts"));
});

test.each(ops)("%s: the list records every op of the file, and has the reference", async (op) => {
  const file = (await import(new URL(`src/ops/${op}.ts`, root).href)) as Record<string, unknown>;
  const records = Object.entries(file).filter(([name]) => name.endsWith("Op")) as [string, Op][];
  const list = allCases.find((one) => one.op === op);
  if (!list) return expect.fail(`src/check/sweep/cases/${op}.ts is missing`);
  const made = recorded(list);
  expect(records.filter(([, record]) => !made.has(record)).map(([name]) => name)).toEqual([]);
  expect(await import(new URL(`src/check/sweep/cases/${op}.ts`, root).href)).toHaveProperty(`${camel(op)}Reference`);
});

test.each(ops)("%s: the test runs the list, or uses its reference", (op) => {
  const text = readFileSync(new URL(`test/ops/${op}.test.ts`, root), "utf8");
  expect(text).toContain(SLOW.includes(op) ? `${camel(op)}Reference(` : `\nsweepTests(${camel(op)}Cases);\n`);
});

test("every kernel in the build has cases, and one without is named", () => {
  expect(kernelsWithoutCases()).toEqual([]);
  expect(kernelsWithoutCases(allCases.filter((list) => list.op !== "silu"))).toEqual(["silu"]);
});

test("names of cases are unique in their list", () => {
  for (const { op, cases } of allCases) {
    const all = cases.map((c) => c.name);
    expect([op, all.filter((name, i) => all.indexOf(name) !== i)]).toEqual([op, []]);
  }
});
