/** muon: a step that is not taken, a parameter in its place, windows. */
import { muon as kernel } from "#kernels";
import { UPDATE, UPDATE_VALUES } from "../../../ops/gradient_norm.ts";
import { muon } from "../../../ops/muon.ts";
import { silu } from "../../../ops/silu.ts";
import { silu as siluOf } from "../activations.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export const muonReference = (lr: number, decay: number, scale: number, { p, update }: Values): Float64Array =>
  Float64Array.from(p!, (v, i) => v - lr * decay * v - lr * scale * update![i]!);

function one(
  size: Size,
  shape: readonly number[],
  { taken = true, placed = false, ...rest }: Partial<OpCase> & { taken?: boolean; placed?: boolean } = {},
): OpCase {
  const [lr, decay, scale] = [0.02, 0.1, 0.2 * Math.sqrt(Math.max(...shape))];
  const control = new Float32Array(UPDATE_VALUES);
  control.set([+taken], UPDATE.taken);
  control.set([1 - lr * decay], UPDATE.keep);
  control.set([-lr], UPDATE.matrixStep);
  return {
    size,
    name: `[${shape.join(", ")}]${taken ? "" : ", not taken"}${placed ? " in its place" : ""}${rest.limits ? ", in windows" : ""}`,
    half: [],
    record: (draw) => {
      const p = draw.input("p", shape);
      const settings = draw.input("control", [UPDATE_VALUES], { data: control });
      return { next: muon(placed ? silu(p) : p, draw.input("update", shape), settings, { scale }) };
    },
    reference: (values) => {
      const before = placed ? { ...values, p: values["p"]!.map(siluOf) } : values;
      return { next: taken ? muonReference(lr, decay, scale, before) : before["p"]! };
    },
    ...rest,
  };
}

export const muonCases: OpCases = {
  op: "muon",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-6 },
  cases: [
    one("tiny", [2, 4]),
    one("odd", [67, 12]),
    one("odd", [67, 13], { taken: false }),
    one("odd", [13, 5], { placed: true }),
    one("odd", [13, 5], { placed: true, taken: false }),
    one("odd", [201, 101], { limits: { maxBindingBytes: 16384, maxGrid: 7 } }),
    one("model", [1920, 1920]),
  ],
};
