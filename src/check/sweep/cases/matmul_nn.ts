/** matmul_nn: every tile, w as a weight, an input and what a node made, both storage types, windows of rows and of inputs. */
import { matmulOctet, matmulQuad, matmulSubgroupMatrix, matmulTiled } from "#kernels";
import type { Capabilities } from "../../../gpu/capabilities.ts";
import { padTo } from "../../../graph/packing.ts";
import type { Tensor } from "../../../graph/tensor.ts";
import { matmulNn } from "../../../ops/matmul_nn.ts";
import { matmul } from "../../../ops/matmul.ts";
import { matmulCandidates } from "../../../ops/matmul/variants.ts";
import { padColumns } from "../../../ops/pad_columns.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import { padChannels, type Precision, type Values } from "../draw.ts";
import { cpuKernel, eightLanes, fewerLanes, matrixKernel, tiledKernel } from "../listed-kernels.ts";

interface Sizes {
  readonly m: number;
  /** Inputs, which are the rows of w, and columns. */
  readonly n: number;
  readonly k: number;
}

/** x [m, n] · w [n, k], in float64. */
export function matmulNnReference({ m, n, k }: Sizes, { x, w }: Values): Float64Array {
  const y = new Float64Array(m * k);
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) {
      const v = x![i * n + j]!;
      for (let c = 0; c < k; c++) y[i * k + c]! += v * w![j * k + c]!;
    }
  return y;
}

const sizesOf = new WeakMap<OpCase, Sizes>();

/** @param from what w is; `both` is a weight that x · wᵀ reads too, so that both have to read one layout */
function one(
  size: Size,
  sizes: Sizes,
  half = "xwy",
  from: "weight" | "both" | "input" | "node" = "weight",
  limits?: OpCase["limits"],
): OpCase {
  const { m, n, k } = sizes;
  const made: OpCase = {
    size,
    name: `${m}×${n}×${k} (${half})${from === "weight" ? "" : `, w ${from}`}${limits ? " in windows" : ""}`,
    half: [...half],
    ...(limits ? { limits } : {}),
    record(draw): Record<string, Tensor> {
      const x = padColumns(draw.input("x", [m, n], { scale: 2 }));
      if (from === "node") {
        const w = matmul(draw.input("a", [n, 4]), draw.weight("b", [k, 4], { dtype: "f32" }), { dtype: draw.type("w") });
        return { y: matmulNn(x, w, draw.type("y")) };
      }
      const options = { scale: n ** -0.5 };
      const w = from === "input" ? draw.input("w", [n, k], options) : draw.weight("w", [n, k], options);
      if (from !== "both") return { y: matmulNn(x, w, draw.type("y")) };
      // Of the type of x, so that both products have the same kernels to choose from.
      const there = matmul(draw.input("u", [m, k], { dtype: x.dtype as Precision }), w);
      return { there, y: matmulNn(x, w, draw.type("y")) };
    },
    reference(values): Record<string, ArrayLike<number>> {
      const w = from === "node" ? productOf(values, n, k) : values["w"]!;
      const y = padChannels(matmulNnReference(sizes, { ...values, w }), k);
      return from === "both" ? { there: padChannels(thereOf(sizes, values), n), y } : { y };
    },
  };
  sizesOf.set(made, sizes);
  return made;
}

const productOf = ({ a, b }: Values, n: number, k: number): Float32Array =>
  Float32Array.from({ length: n * k }, (_, i) => {
    let sum = 0;
    for (let l = 0; l < 4; l++) sum += a![Math.floor(i / k) * 4 + l]! * b![(i % k) * 4 + l]!;
    return sum;
  });
const thereOf = ({ m, n, k }: Sizes, { u, w }: Values): Float64Array =>
  Float64Array.from({ length: m * n }, (_, i) => {
    let sum = 0;
    for (let l = 0; l < k; l++) sum += u![Math.floor(i / n) * k + l]! * w![(i % n) * k + l]!;
    return sum;
  });

/** Both matrices in f16, and a tile that the adapter's matrices make. */
function takesMatrices(c: OpCase, caps: Capabilities, precision: Precision): boolean {
  const { m, n, k } = sizesOf.get(c)!;
  const half = precision === "f16" && ["x", "w"].every((name) => c.half!.includes(name));
  const shape = { m, n: padTo(k, 4), k: padTo(n, 4), half };
  return matmulCandidates({ ...caps, kind: "hardware", ...c.limits }, shape).some((v) => v.name === "subgroup_matrix");
}

export const matmulNnCases: OpCases = {
  op: "matmul_nn",
  kernels: [
    cpuKernel(matmulOctet, { needs: eightLanes }),
    cpuKernel(matmulQuad, { needs: fewerLanes }),
    matrixKernel(matmulSubgroupMatrix, { takes: takesMatrices }),
    tiledKernel(matmulTiled),
  ],
  tolerance: { f32: 1e-5, f16: 1e-3 },
  cases: [
    one("tiny", { m: 1, n: 4, k: 4 }),
    one("tiny", { m: 1, n: 1, k: 1 }, "xwy", "input"),
    one("odd", { m: 5, n: 7, k: 29 }, "xwy", "input"),
    one("odd", { m: 67, n: 36, k: 68 }),
    ...["xwy", "xw", "w", "x", "xy"].map((half) => one("odd", { m: 67, n: 48, k: 68 }, half)),
    ...["xwy", "xw", "w", "x"].map((half) => one("odd", { m: 67, n: 48, k: 80 }, half, "both")),
    one("odd", { m: 19, n: 68, k: 48 }, "xw", "both"),
    ...[24, 20].map((n) => one("odd", { m: 67, n, k: 68 })),
    ...[5, 19, 131].flatMap((m) => [12, 36, 132].map((k) => one("odd", { m, n: 272, k }))),
    one("odd", { m: 67, n: 53, k: 37 }, "xwy", "input"),
    one("odd", { m: 45, n: 48, k: 68 }, "xwy", "node"),
    one("odd", { m: 520, n: 196, k: 64 }, "xwy", "weight", { maxBindingBytes: 64 * 1024, maxGrid: 17 }),
    one("odd", { m: 130, n: 544, k: 68 }, "xwy", "weight", { maxBindingBytes: 144 * 1024, maxGrid: 17 }),
    one("odd", { m: 130, n: 544, k: 68 }, "xw", "input", { maxBindingBytes: 144 * 1024, maxGrid: 17 }),
    one("model", { m: 771, n: 32, k: 2052 }),
    one("model", { m: 65, n: 1920, k: 1920 }),
    one("model", { m: 65, n: 7680, k: 1920 }),
    one("model", { m: 65, n: 1920, k: 7680 }),
    one("model", { m: 65, n: 64, k: 1920 }, "xy"),
  ],
};
