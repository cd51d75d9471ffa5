/**
 * No op assumes what an operand is or what memory holds: given as an input, as a weight, as what a node computed, or, in f32, as a
 * constant, an operand gives the same bytes or the same refusal, whatever the memory held before.
 */
import { describe, expect, test } from "vitest";
import { padColumns as copyKernel } from "#kernels";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { bytesOf, type DType, isFloat } from "../../src/graph/dtype.ts";
import { Graph } from "../../src/graph/graph.ts";
import type { Op } from "../../src/graph/op.ts";
import type { Tensor, TensorRole } from "../../src/graph/tensor.ts";
import { dispatch, foldGrid, rowView, rowWindows } from "../../src/plan/dispatch.ts";
import { attention } from "../../src/ops/attention.ts";
import { conv3d } from "../../src/ops/conv3d.ts";
import { embedding } from "../../src/ops/embedding.ts";
import { groupNorm } from "../../src/ops/group_norm.ts";
import { joinTokens } from "../../src/ops/join_tokens.ts";
import { layerNorm } from "../../src/ops/layer_norm.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { qkNormRope } from "../../src/ops/qk_norm_rope.ts";
import { rmsNorm } from "../../src/ops/rms_norm.ts";
import type { ListedKernel, OpCase, OpCases } from "../../src/check/sweep/case.ts";
import { Draw, type Drawn, type Precision } from "../../src/check/sweep/draw.ts";
import { allCases } from "#sweep-cases";
import { planCase, runCase, workOf, type PlannedCase } from "../../src/check/sweep/run-case.ts";
import { testGpu } from "../support/gpu.ts";

/** The same values, computed by a node; what lies behind them in memory is left as it was. */
const copyOp: Op<{ x: Tensor }, object, "y"> = {
  name: "copy",
  infer: ({ x }) => ({ y: { shape: x.shape, dtype: x.dtype } }),
  cost: ({ inputs: { x } }) => ({ flops: 0, bytes: 2 * x.bytes }),
  lower: ({ inputs: { x }, outputs: { y } }, { caps }) =>
    rowWindows(caps, x.size, [bytesOf[x.dtype]], 0, { most: 64 * caps.maxGrid }).map((w) =>
      dispatch({
        kernel: copyKernel,
        types: { X: x.dtype },
        params: { count: w.count, columns: w.count, stride: w.count },
        bindings: { x: rowView(x, w, 1), y: rowView(y, w, 1) },
        grid: foldGrid(Math.ceil(w.count / 64), caps),
      }),
    ),
};

/** Draws every operand in one role, as far as there are such: rows are no weights, and constants no f16. */
function drawerAs(wanted: TensorRole): typeof Draw {
  return class extends Draw {
    protected override place(role: TensorRole, drawn: Drawn): Tensor {
      const can = wanted === "weight" ? isFloat(drawn) : wanted === "constant" ? drawn.dtype !== "f16" : true;
      if (wanted === "activation") return this.graph.record(copyOp, { x: super.place("input", drawn) }, {}).y;
      return super.place(can ? wanted : role, drawn);
    }
  };
}

/** Their kernels take some adapters seconds to compile for each shape: of these, how an operand is stored makes no difference. */
const slow = new Set([
  ...["matmul", "matmul_nn", "matmul_tn", "attention", "attention_gradient", "qk_norm_rope", "qk_norm_rope_gradient"],
  ...["conv3d", "conv3d_gradient_x", "conv3d_gradient_w", "layer_norm_gradient"],
]);

interface Way {
  readonly c: OpCase;
  readonly choice: ListedKernel;
  readonly planned: PlannedCase;
  /** Operand by operand, what this way of computing the case shows. */
  readonly shows: readonly string[];
}

/** What a case draws, by name: its type, whether its rows are vectors, and whether the case has limits; of `briefly` the names alone. */
function operandsOf(c: OpCase, precision: Precision, briefly: boolean): Map<string, string> {
  const drawn = new Map<string, string>();
  const Drawer = class extends Draw {
    protected override place(role: TensorRole, one: Drawn): Tensor {
      drawn.set(one.name, briefly ? "" : `${one.dtype} ${one.shape.at(-1)! % 4 === 0} ${c.limits ? "limited" : ""}`);
      return super.place(role, one);
    }
  };
  c.record(new Drawer(new Graph("operands"), precision, c.half));
  return drawn;
}

/** Every way in which this adapter can compute the cases of a list; of slow kernels no windows, and in f16 one kernel stands for all. */
function waysOf(list: OpCases, precision: Precision, { caps }: Gpu): Way[] {
  const briefly = slow.has(list.op);
  const cases = list.cases
    .filter((c) => c.size !== "model" && !(briefly && c.limits))
    .map((c) => ({ c, drawn: operandsOf(c, precision, briefly) }));
  const names = new Set(cases.flatMap(({ drawn }) => [...drawn.keys()]));
  return cases.flatMap(({ c, drawn }) => {
    // Kernels of one plan, such as that which packs before that which multiplies, are one way.
    const ways = new Map<string, Way>();
    for (const choice of list.kernels) {
      if (choice.needs?.(caps) !== undefined || (choice.takes && !choice.takes(c, caps, precision))) continue;
      if (briefly && precision === "f16" && ways.size > 0) continue;
      const planned = planCase(list, c, choice, precision, caps);
      const kernel = briefly && precision === "f16" ? "" : choice.kernel.name;
      const shows = [...names].map((name) => `${kernel} ${drawn.has(name) ? `${name} ${drawn.get(name)}` : `no ${name}`}`);
      const same = workOf(planned);
      const known = ways.get(same);
      ways.set(same, known ? { ...known, shows: [...known.shows, ...shows] } : { c, choice, planned, shows });
    }
    return [...ways.values()];
  });
}

/**
 * Ways that together show all that any of them shows: one after the other, that which shows most
 * for what it compiles, the last of those alike.
 */
function fewest(ways: readonly Way[]): Way[] {
  const [shown, compiled, chosen] = [new Set<string>(), new Set<string>(), [] as Way[]];
  const worth = ({ shows, planned }: Way): number =>
    shows.filter((what) => !shown.has(what)).length /
    (1 + new Set(planned.plan.steps.map((s) => s.label).filter((label) => !compiled.has(label))).size);
  for (;;) {
    const best = ways.reduce((a, b) => (worth(b) >= worth(a) ? b : a));
    if (worth(best) === 0) return chosen;
    for (const what of best.shows) shown.add(what);
    for (const step of best.planned.plan.steps) compiled.add(step.label);
    chosen.push(best);
  }
}

const bits = (out: Record<string, Float32Array>): Record<string, Uint32Array> =>
  Object.fromEntries(
    Object.entries(out).map(([name, { buffer, byteOffset, length }]) => [name, new Uint32Array(buffer, byteOffset, length)]),
  );
/** 1 in f16, and a number in f32 too. */
const ONES = 0x3c003c00;

describe.each(["f32", "f16"] as const)("%s", (precision) => {
  test.for(allCases.map((list) => [list.op, list] as const))("%s", { timeout: 300_000 }, async ([, list], { skip }) => {
    const gpu = await testGpu();
    if (precision === "f16" && !gpu.caps.f16) return skip("needs shader-f16");
    const ways = waysOf(list, precision, gpu);
    // A cast from f32 to f32 is no node.
    if (ways.length === 0 && list.op === "cast") return skip("needs a second storage type");
    for (const { c, choice, planned } of fewest(ways)) {
      const what = `${c.name}, ${planned.labels.join(" + ")}`;
      const want = bits(await runCase(gpu, planned));
      expect(bits(await runCase(gpu, planned, ONES)), `${what}, in other memory`).toEqual(want);
      for (const role of ["input", "weight", "activation", "constant"] as const) {
        const other = planCase(list, c, choice, precision, gpu.caps, drawerAs(role));
        expect(bits(await runCase(gpu, other, ONES)), `${what}, every operand as ${role}`).toEqual(want);
      }
    }
  });
});

type Make = (name: string, shape: readonly number[], dtype?: DType) => Tensor;
/** An operand that kernels could only misread, and what is said of it. */
const refused: [string, (make: Make) => unknown, string][] = [
  [
    "matmul, w of counts",
    (t) => matmul(t("x", [2, 8]), t("w", [4, 8], "i32")),
    "[matmul] x must be f32 or f16 [..., K] and w [N, K], got x [2, 8] f32 and w [4, 8] i32; reshape or convert them",
  ],
  [
    "matmul, w of three axes",
    (t) => matmul(t("x", [2, 8]), t("w", [4, 8, 2])),
    "[matmul] x must be f32 or f16 [..., K] and w [N, K], got x [2, 8] f32 and w [4, 8, 2] f32; reshape or convert them",
  ],
  [
    "matmul, f16 bias",
    (t) => matmul(t("x", [2, 8]), t("w", [4, 8]), { bias: t("b", [4], "f16") }),
    "[matmul] the bias must have 4 values in f32, got [4] f16; check the weight's name and type",
  ],
  [
    "matmul, f16 gate",
    (t) => matmul(t("x", [2, 8]), t("w", [4, 8]), { gate: { table: t("g", [2, 4], "f16"), rows: t("r", [2], "u32") } }),
    "[matmul] a gate must be f32 [G, 4] with one u32 row a token, got [2, 4] f16 and [2] u32",
  ],
  [
    "matmul, f16 residual",
    (t) => matmul(t("x", [2, 8]), t("w", [4, 8]), { residual: t("r", [2, 4], "f16") }),
    "[matmul] the residual must be f32 [2,4], got [2, 4] f16",
  ],
  [
    "conv3d, w of counts",
    (t) => conv3d(t("x", [1, 1, 4, 4, 4]), t("w", [4, 4, 3, 3], "u32")),
    "[conv3d] x must be [B, T, H, W, C] and w [out, in, kt, kh, kw] or [out, in, kh, kw], " +
      "both f32 or f16, got [1, 1, 4, 4, 4] f32 and [4, 4, 3, 3] u32",
  ],
  [
    "conv3d, f16 bias",
    (t) => conv3d(t("x", [1, 1, 4, 4, 4]), t("w", [4, 4, 3, 3]), { bias: t("b", [4], "f16") }),
    "[conv3d] the bias must have 4 values in f32, got [4] f16; check the weight's name and type",
  ],
  [
    "layer_norm, f16 weight",
    (t) => layerNorm(t("x", [2, 8]), { weight: t("w", [8], "f16"), bias: t("b", [8]) }),
    "[layer_norm] weight and bias must both have 8 values in f32, got w f16 [8] and b f32 [8]",
  ],
  [
    "layer_norm, rows as numbers",
    (t) => layerNorm(t("x", [2, 8]), { source: t("s", [2]) }),
    "[layer_norm] the rows that are asked for must be u32, got s f32 [2]; convert them",
  ],
  [
    "rms_norm, f16 weight",
    (t) => rmsNorm(t("x", [2, 8]), t("w", [8], "f16")),
    "[rms_norm] the weight must be f32 [8], got w f16 [8]; check its name and type",
  ],
  [
    "group_norm, f16 bias",
    (t) => groupNorm(t("x", [1, 1, 2, 2, 8]), t("w", [8]), t("b", [8], "f16"), { groups: 2, eps: 1e-6 }),
    "[group_norm_apply] weight and bias must have an f32 value for each of 8 channels, " +
      "got w f32 [8] and b f16 [8]; check the weight's name and type",
  ],
  [
    "qk_norm_rope, f16 norm",
    (t) => qkNormRope(t("q", [1, 2, 8]), t("k", [1, 2, 8]), { norm: { q: t("nq", [2, 8], "f16"), k: t("nk", [2, 8], "f16"), eps: 1e-6 } }),
    "[qk_norm_rope] head norms must be f32 [2, 8], got nq f16 [2, 8] and nk f16 [2, 8]",
  ],
  [
    "attention of counts",
    (t) => attention(t("q", [1, 2, 8], "u32"), t("k", [1, 2, 8], "u32"), t("v", [1, 2, 8], "u32")),
    "[attention] q, k, v must be f32 or f16, got q u32 [1, 2, 8]; convert them",
  ],
  [
    "embedding, a table of counts",
    (t) => embedding(t("ids", [2], "u32"), t("t", [4, 8], "i32")),
    "[embedding] the table must be [V, C] in f32 or f16 with C a multiple of 4, got t i32 [4, 8]; choose another width",
  ],
  [
    "join_tokens, f16 positions",
    (t) => joinTokens(t("text", [1, 2, 8]), t("video", [1, 3, 8]), t("p", [5, 8], "f16")),
    "[join_tokens] positions must be f32 [5, 8], got p f16 [5, 8]",
  ],
];
test.each(refused)("%s: refused in every role", (_, build, message) => {
  for (const role of ["input", "weight", "activation"] as const) {
    const graph = new Graph("refused");
    const make: Make = (name, shape, dtype = "f32") => {
      if (role === "weight") return graph.weight(name, shape, dtype);
      const input = graph.input(role === "input" ? name : `${name} before`, shape, dtype);
      return role === "input" ? input : Object.assign(graph.record(copyOp, { x: input }, {}).y, { name });
    };
    expect(() => build(make), role).toThrow(message);
  }
});

test("rows past the end are refused where they are known", () => {
  const graph = new Graph("rows");
  const x = graph.input("x", [3, 8]);
  const rows = (...list: number[]) => graph.constant("rows", Uint32Array.from(list));
  expect(() => layerNorm(x, { source: rows(0, 3) })).toThrow(
    "[layer_norm] an index into x must be below its 3 rows, got 3 in rows u32 [2]; correct the index",
  );
  // A scale is in the row after its shift.
  expect(() => layerNorm(x, { modulation: { table: graph.input("t", [4, 8]), rows: rows(0, 2, 3) } })).toThrow(
    "[layer_norm] an index into the modulation's shifts must be below its 3 rows, got 3",
  );
  expect(() => matmul(x, graph.input("w", [4, 8]), { gate: { table: graph.input("g", [2, 4]), rows: rows(0, 1, 2) } })).toThrow(
    "[matmul] an index into the gate must be below its 2 rows, got 2",
  );
  const q = graph.input("q", [1, 3, 8]);
  expect(() =>
    qkNormRope(q, graph.input("k", [1, 3, 8]), { rope: { table: graph.input("rope", [2, 8]), position: rows(0, 1, 2) } }),
  ).toThrow("[qk_norm_rope] an index into the rope's table must be below its 2 rows, got 2");
});

test("a query in two segments, one outside, and no segments are refused", () => {
  const graph = new Graph("segments");
  const [q, k, v] = ["q", "k", "v"].map((name) => graph.input(name, [1, 10, 8])) as [Tensor, Tensor, Tensor];
  const of = (first: number, count: number) => ({ first, count, keyFirst: 0, keyCount: 4 });
  expect(() => attention(q, k, v, { segments: [of(5, 5), of(0, 6)] })).toThrow(
    "[attention] a query must be in one segment at most, " +
      'got 5 in {"first":0,"count":6,"keyFirst":0,"keyCount":4} and in {"first":5,"count":5,"keyFirst":0,"keyCount":4}; part them',
  );
  expect(() => attention(q, k, v, { segments: [of(-1, 3)] })).toThrow("[attention] segments must lie within 10 queries and 10 keys, got");
  expect(() => attention(q, k, v, { segments: [of(0, 2.5)] })).toThrow("[attention] segments must lie within 10 queries and 10 keys, got");
  expect(() => attention(q, k, v, { segments: [] })).toThrow(
    "[attention] some query must be in a segment, got no segments; leave them out where all see all",
  );
  // Keys may be in several.
  expect(attention(q, k, v, { segments: [of(0, 5), of(5, 5)] }).shape).toEqual([10, 8]);
});
