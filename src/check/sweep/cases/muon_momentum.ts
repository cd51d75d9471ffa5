/** muon_momentum: a clipped gradient, a step that is not taken, momentum in its place, windows. */
import { muonMomentum as kernel } from "#kernels";
import { UPDATE, UPDATE_VALUES } from "../../../ops/gradient_norm.ts";
import { muonMomentum } from "../../../ops/muon_momentum.ts";
import { silu } from "../../../ops/silu.ts";
import { silu as siluOf } from "../activations.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export function muonMomentumReference(momentum: number, factor: number, { m, g }: Values): Record<"m" | "direction", Float64Array> {
  const next = Float64Array.from(m!, (v, i) => momentum * v + (1 - momentum) * factor * g![i]!);
  return { m: next, direction: Float64Array.from(g!, (v, i) => (1 - momentum) * factor * v + momentum * next[i]!) };
}

function one(
  size: Size,
  shape: readonly number[],
  { taken = true, placed = false, ...rest }: Partial<OpCase> & { taken?: boolean; placed?: boolean } = {},
): OpCase {
  const [momentum, factor] = [0.95, 0.3];
  const control = new Float32Array(UPDATE_VALUES);
  control.set([factor], UPDATE.factor);
  control.set([+taken], UPDATE.taken);
  control.set([1 - momentum], UPDATE.momentumRate);
  return {
    size,
    name: `[${shape.join(", ")}]${taken ? "" : ", not taken"}${placed ? " in its place" : ""}${rest.limits ? ", in windows" : ""}`,
    half: [],
    record: (draw) => {
      const m = draw.input("m", shape);
      return muonMomentum(placed ? silu(m) : m, draw.input("g", shape), draw.input("control", [UPDATE_VALUES], { data: control }));
    },
    reference: (values) => {
      const before = placed ? values["m"]!.map(siluOf) : values["m"]!;
      return taken
        ? muonMomentumReference(momentum, factor, { ...values, m: before })
        : { m: before, direction: new Float64Array(before.length) };
    },
    ...rest,
  };
}

export const muonMomentumCases: OpCases = {
  op: "muon_momentum",
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
