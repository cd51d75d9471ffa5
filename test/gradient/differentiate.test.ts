import { describe, expect, test } from "vitest";
import { addCases } from "../../src/check/sweep/cases/add.ts";
import { siluCases } from "../../src/check/sweep/cases/silu.ts";
import { differentiate } from "../../src/gradient/differentiate.ts";
import { watch } from "../../src/gradient/watch.ts";
import { Graph } from "../../src/graph/graph.ts";
import { compile } from "../../src/plan/compile.ts";
import { add } from "../../src/ops/add.ts";
import { gatedGelu } from "../../src/ops/gated_gelu.ts";
import { silu } from "../../src/ops/silu.ts";
import { values } from "../support/compare.ts";
import { runGraph as runRecorded } from "../../src/run/run-graph.ts";
import type { Tensor } from "../../src/graph/tensor.ts";
import { runGraph, testGpu } from "../support/gpu.ts";
import { gradientTests } from "../support/gradients.ts";

gradientTests(addCases);
gradientTests(siluCases, { cases: (c) => !c.name.includes("e+") && !c.name.includes("100000") });

/** Four blocks of two nodes each, in scopes of their own, over x and a parameter that each reads. */
function blocks(graph: Graph) {
  const p = watch(graph.state("p", [8]));
  let hidden = graph.input("x", [8]);
  for (let i = 0; i < 4; i++)
    hidden = graph.scope(`blocks.${i}`, () => {
      const inner = graph.scope("inner", () => silu(add(hidden, p)));
      return add(silu(inner), hidden);
    });
  return { p, hidden };
}
const blockOf = ({ scope }: { scope: string }): string | undefined => /^blocks\.\d+/.exec(scope)?.[0];

describe("blocks that are computed again", () => {
  const record = (again: boolean, keep: boolean) => (graph: Graph) => {
    const { p, hidden } = blocks(graph);
    const cotangent = graph.input("dy", [8]);
    const [gradient] = differentiate([{ of: hidden, gradient: cotangent }], [p], {
      ...(again ? { again: blockOf } : {}),
      ...(keep ? { keep: (node) => node.name.endsWith("silu#2") || node.scope.endsWith("inner") } : {}),
    });
    return { y: hidden, gradient: gradient! };
  };
  test("give the same bytes", async () => {
    const inputs = { x: values(8, 1), dy: values(8, 2) };
    const plain = await runGraph(record(false, false), { inputs });
    expect(plain["gradient"]!.some((v) => v !== 0)).toBe(true);
    expect(await runGraph(record(true, false), { inputs })).toEqual(plain);
    expect(await runGraph(record(true, true), { inputs })).toEqual(plain);
  });
  test("are recorded once more without what is kept, and what nobody reads does not run", async () => {
    const { caps } = await testGpu();
    const nodes = ([again, keep]: readonly [boolean, boolean]) => {
      const graph = new Graph("nodes");
      for (const [name, tensor] of Object.entries(record(again, keep)(graph))) graph.output(name, tensor);
      return new Set(compile(graph, caps).steps.map(({ node }) => node)).size;
    };
    const [all, again, keep] = (
      [
        [false, false],
        [true, false],
        [true, true],
      ] as const
    ).map(nodes);
    // A block's last sum is not read by its gradient: add and silu twice are recorded again of each block.
    expect(again! - all!).toBeGreaterThan(0);
    expect(again! - all!).toBeLessThanOrEqual(4 * 2);
    expect(keep).toBeLessThan(again!);
  });
});

describe("blocks among whose nodes others were recorded", () => {
  /** Each block is the first to ask for a weight, in whose place a node stands that belongs to no block. */
  const record = (again: boolean) => {
    const made: Tensor[] = [];
    const graph = new Graph(
      "interleaved",
      () => "f32",
      ({ names, shape, dtype }, into) => {
        made.push(watch(into.state(names[0]!, shape, dtype, values(8, 3 + made.length))));
        return silu(made.at(-1)!);
      },
    );
    let hidden = graph.input("x", [8]);
    for (let i = 0; i < 3; i++)
      hidden = graph.scope(`blocks.${i}`, () => {
        const inner = silu(add(hidden, graph.weight(`first.${i}`, [8])));
        return add(silu(add(inner, graph.weight(`second.${i}`, [8]))), hidden);
      });
    const gradients = differentiate([{ of: hidden, gradient: graph.input("dy", [8]) }], made, again ? { again: blockOf } : {});
    for (const [i, gradient] of gradients.entries()) graph.output(`gradient.${i}`, gradient!);
    return graph;
  };
  test("give the same bytes", async () => {
    const gpu = await testGpu();
    const [again, plain] = [true, false].map((each) => runRecorded(gpu, record(each), { x: values(8, 1), dy: values(8, 2) }));
    expect(Object.values(await plain!).every((gradient) => gradient.some((v) => v !== 0))).toBe(true);
    expect(await again).toEqual(await plain);
  });
  test("are refused where a node between two of a block's reads one and is read by the other", () => {
    const graph = new Graph("torn");
    const p = watch(graph.state("p", [8]));
    const first = graph.scope("blocks.0", () => silu(p));
    const between = silu(first);
    const last = graph.scope("blocks.0", () => silu(between));
    expect(() => differentiate([{ of: last, gradient: graph.input("dy", [8]) }], [p], { again: blockOf })).toThrow(
      /\[gradient\] a block's nodes must lie together, got silu, which reads blocks\.0\.silu/,
    );
  });
});

test("a tensor that two nodes read has the sum of both gradients, and one without influence none", async () => {
  const out = await runGraph(
    (graph) => {
      const x = watch(graph.input("x", [4]));
      const alone = watch(graph.input("alone", [4]));
      const y = add(add(x, x), graph.reshape(x, [4]));
      const [dx, none] = differentiate([{ of: y, gradient: graph.input("dy", [4]) }], [x, alone]);
      expect(none).toBeUndefined();
      return { dx: dx! };
    },
    { inputs: { x: values(4, 1), dy: Float32Array.of(1, 2, 3, 4) } },
  );
  expect(out["dx"]).toEqual(Float32Array.of(3, 6, 9, 12));
});

test("an op without a gradient is refused by name where it is recorded, and only if a gradient has to go through it", () => {
  const graph = new Graph("refused");
  const [x, frozen] = [watch(graph.input("x", [2, 8])), graph.input("frozen", [2, 8])];
  expect(() => gatedGelu(silu(x))).toThrow(/\[gated_gelu\] an op through which a gradient goes must have one/);
  expect(() => gatedGelu(frozen)).not.toThrow();
  expect(() => graph.unwatched(() => gatedGelu(x))).not.toThrow();
  expect(() => differentiate([{ of: silu(x), gradient: graph.input("dy", [2, 8]) }], [frozen])).toThrow(
    /\[gradient\] a gradient is of a tensor that was watched when it was read, got frozen/,
  );
  expect(() => differentiate([{ of: silu(x), gradient: graph.input("short", [8]) }], [x])).toThrow(
    /\[gradient\] a cotangent must have the shape of its tensor/,
  );
});

test("what stands in for a weight is recorded once, outside of the scope that asks for it", () => {
  const graph = new Graph(
    "trained",
    () => "f32",
    ({ names, shape, dtype }, into) => (names[0] === "w" ? silu(watch(into.state("w", shape, dtype))) : undefined),
  );
  const [w, again, other] = graph.scope("block", () => [graph.weight("w", [4]), graph.weight("w", [4]), graph.weight("v", [4])] as const);
  expect(w).toBe(again);
  expect([w.role, other.role]).toEqual(["activation", "weight"]);
  expect(graph.nodes.map(({ scope }) => scope)).toEqual([""]);
  expect(graph.isWatched(add(w, other))).toBe(true);
});
