/** gated_add: with and without a residual, in its place, rows in no order, both storage types, windows. */
import { gatedAdd as kernel } from "#kernels";
import { gatedAdd } from "../../../ops/gated_add.ts";
import { silu } from "../../../ops/silu.ts";
import { silu as siluOf } from "../activations.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

/** Rows of a table in runs that come again, as text and video of several clips name them. */
export const runs = (tokens: number, table: number): Uint32Array =>
  Uint32Array.from({ length: tokens }, (_, m) => (Math.floor(m / 5) * 7) % table);

export function gatedAddReference({ n, rows }: { n: number; rows: Uint32Array }, { x, table, residual }: Values): Float64Array {
  return Float64Array.from(x!, (v, i) => v * table![rows[Math.floor(i / n)]! * n + (i % n)]! + (residual ? residual[i]! : 0));
}

interface Options {
  residual?: "given" | "taken";
  /** Are the rows an input of the graph? */
  given?: true;
  half?: readonly string[];
  limits?: OpCase["limits"];
}

function one(size: Size, m: number, n: number, table: number, { residual, given, half, limits }: Options = {}): OpCase {
  const rows = runs(m, table);
  return {
    size,
    name:
      `${m}×${n} of ${table}${residual ? `, residual ${residual}` : ""}${given ? ", rows an input" : ""}` +
      `${half ? `, f16: ${half.join(", ")}` : ""}${limits ? ", in windows" : ""}`,
    ...(half ? { half } : {}),
    ...(limits ? { limits } : {}),
    record(draw) {
      const gate = { table: draw.input32("table", [table, n]), rows: draw.rows("rows", rows, given ? "input" : "constant") };
      const r = residual && draw.input32("residual", [m, n]);
      return {
        y: gatedAdd(draw.input("x", [m, n]), gate, {
          ...(r ? { residual: residual === "taken" ? silu(r) : r } : {}),
          dtype: residual === "taken" ? "f32" : draw.type("y"),
        }),
      };
    },
    reference: ({ x, table: gates, residual: r }) => ({
      y: gatedAddReference(
        { n, rows },
        { x: x!, table: gates!, ...(r ? { residual: residual === "taken" ? Float32Array.from(r, siluOf) : r } : {}) },
      ),
    }),
  };
}

export const gatedAddCases: OpCases = {
  op: "gated_add",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-3 },
  cases: [
    one("tiny", 1, 4, 1),
    one("odd", 67, 12, 6),
    one("odd", 67, 12, 6, { residual: "given", given: true }),
    one("odd", 67, 12, 3, { residual: "taken" }),
    one("odd", 33, 20, 5, { half: ["x"] }),
    one("odd", 33, 20, 5, { half: ["x"], residual: "given" }),
    one("odd", 33, 20, 5, { half: ["y"] }),
    one("odd", 200, 100, 12, { residual: "given", limits: { maxBindingBytes: 32768, maxGrid: 7 } }),
    one("model", 738, 1920, 6, { residual: "given" }),
  ],
};
