/** matmul: every epilogue the models use × what is stored in f16 × every tile, then the models' own widths. */
import { matmulDotI8, matmulOctet, matmulQuad, matmulSubgroupMatrix, matmulTiled, packOperand, quantizePanels } from "#kernels";
import { matmul, type MatmulOptions } from "../../../ops/matmul.ts";
import { matmulCandidates } from "../../../ops/matmul/variants.ts";
import { gelu, silu } from "../activations.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import { drawn, padChannels, type Draw, type Precision } from "../draw.ts";
import { cpuKernel, eightLanes, fewerLanes, gpuKernel, integerProducts, matrixKernel, oneKernel, tiledKernel } from "../listed-kernels.ts";
import type { Capabilities } from "../../../gpu/capabilities.ts";
import type { Kernel } from "../../../gpu/kernel.ts";

interface Epilogue {
  bias?: true;
  activation?: MatmulOptions["activation"];
  residual?: true;
  addend?: true;
  gate?: true;
  /** On the product by itself, which a node before it left in the memory of the result. */
  accumulate?: true;
  /** Width of a head, by which the result is laid out. */
  heads?: number;
}

export interface MatmulSizes {
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

/** Each activation of the op in float64. */
const activations: Record<NonNullable<Epilogue["activation"]>, (v: number) => number> = { gelu, silu };

/** act(x·wᵀ + bias + addend) · gate + residual, by the definition. */
export function matmulReference(
  { m, n, k }: MatmulSizes,
  epilogue: Epilogue,
  { x, w, bias, residual, addend, gate }: Readonly<Record<string, ArrayLike<number>>>,
): Float64Array {
  const { heads = n } = epilogue;
  const y = new Float64Array(m * n);
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) {
      let product = 0;
      for (let l = 0; l < k; l++) product += x![i * k + l]! * w![j * k + l]!;
      let v = product;
      if (bias) v += bias[j]!;
      if (addend) v += addend[i * n + j]!;
      if (epilogue.activation) v = activations[epilogue.activation](v);
      if (gate) v *= gate[(i % 3) * n + j]!;
      if (epilogue.accumulate) v += product;
      if (residual) v += residual[i * n + j]!;
      y[(Math.floor(j / heads) * m + i) * heads + (j % heads)] = v;
    }
  return y;
}

function optionsOf(draw: Draw, { m, n }: MatmulSizes, e: Epilogue): MatmulOptions {
  const options: MatmulOptions = { dtype: draw.type("y") };
  if (e.bias) options.bias = draw.vector("bias", [n]);
  if (e.activation) options.activation = e.activation;
  if (e.residual) options.residual = draw.input32("residual", [m, n]);
  if (e.heads) options.heads = e.heads;
  if (e.addend) options.addend = draw.input32("addend", [m, n]);
  if (e.gate)
    options.gate = {
      table: draw.input32("gate", [3, n]),
      rows: draw.rows(
        "rows",
        Uint32Array.from({ length: m }, (_, i) => i % 3),
      ),
    };
  return options;
}

function record(draw: Draw, sizes: MatmulSizes, e: Epilogue) {
  const { m, n, k } = sizes;
  const options = optionsOf(draw, sizes, e);
  // Products near 1, where activations are curved.
  const [x, w] = [draw.input("x", [m, k], { scale: 2 }), draw.weight("w", [n, k], { scale: k ** -0.5 })];
  return { y: matmul(x, w, e.accumulate ? { ...options, residual: matmul(x, w) } : options) };
}

const sizesOf = new WeakMap<OpCase, MatmulSizes>();

/** @param half of x, w and y, what is stored in f16 with f16 storage */
function one(size: Size, sizes: MatmulSizes, epilogue: Epilogue = {}, half = "xwy", limits?: OpCase["limits"]): OpCase {
  const parts = Object.entries(epilogue).map(([key, value]) =>
    value === true ? key : key === "heads" ? `by heads of ${value}` : String(value),
  );
  const made: OpCase = {
    size,
    name: [`${sizes.m}×${sizes.n}×${sizes.k}`, ...parts, `(${half})`, ...(limits ? ["in windows"] : [])].join(" "),
    half: [...half],
    ...(limits ? { limits } : {}),
    record: (draw) => record(draw, sizes, epilogue),
    reference: (values) => ({ y: matmulReference(sizes, epilogue, values) }),
  };
  sizesOf.set(made, sizes);
  return made;
}

/** The op's own rule: both matrices in f16, and a tile that the adapter's matrices make. */
function takesMatrices(c: OpCase, caps: Capabilities, precision: Precision): boolean {
  const { m, n, k } = sizesOf.get(c)!;
  const half = precision === "f16" && ["x", "w"].every((name) => c.half!.includes(name));
  return matmulCandidates({ ...caps, kind: "hardware", ...c.limits }, { m, n, k, half }).some((v) => v.name === "subgroup_matrix");
}

const TINY = { m: 1, n: 4, k: 4 };
const ODD = { m: 67, n: 68, k: 48 };
/** Enough tiles of 128 × 128 to fill a GPU, on the fewest inputs. */
const LARGE = { m: 771, n: 2052, k: 32 };
const all = ["xwy", "xw", "xy", "x", "w"];
/** Each epilogue with the storage that models have it with. */
const epilogues: [Epilogue, string[]][] = [
  [{}, all],
  [{ bias: true }, all],
  [{ bias: true, activation: "gelu" }, ["xwy", "xy"]],
  [{ bias: true, activation: "silu" }, ["w"]],
  [{ bias: true, residual: true }, all],
  [{ bias: true, residual: true, gate: true }, ["xw", "x"]],
  [{ residual: true, gate: true }, ["w"]],
  [{ residual: true }, ["xw", "x", "w"]],
  [{ gate: true }, ["x"]],
  [{ bias: true, accumulate: true, gate: true }, ["xw", "x"]],
  [{ accumulate: true, gate: true }, ["w"]],
  [{ accumulate: true }, ["xw", "x", "w"]],
  [{ bias: true, accumulate: true }, ["xw", "x", "w"]],
  [{ bias: true, heads: 4 }, ["xwy"]],
  [{ bias: true, addend: true, activation: "gelu" }, ["xwy", "xy"]],
  [{ bias: true, addend: true, activation: "silu" }, ["w"]],
];

/** Those whose w is no weight: it is packed before the product. */
const packed = new WeakSet<OpCase>();

/** @param from w is an input, or what a node before computed; with `x` it is x itself */
function operand(size: Size, sizes: MatmulSizes, from: "input" | "node" | "x", half = "xwy", limits?: OpCase["limits"]): OpCase {
  const { m, n, k } = sizes;
  const made: OpCase = {
    size,
    name:
      `${m}×${n}×${k} bias (${half}), ` +
      `w ${from === "input" ? "an input" : from === "node" ? "from a node" : "x itself"}${limits ? " in windows" : ""}`,
    half: [...half],
    ...(limits ? { limits } : {}),
    record(draw) {
      const x = draw.input("x", [m, k], { scale: 2 });
      const w =
        from === "x"
          ? x
          : from === "input"
            ? draw.input("w", [n, k], { scale: k ** -0.5 })
            : matmul(draw.input("a", [n, 4]), draw.weight("b", [k, 4], { dtype: "f32" }), { dtype: draw.type("w") });
      return { y: matmul(x, w, { bias: draw.input32("bias", [n]), dtype: draw.type("y") }) };
    },
    reference(values) {
      const w =
        from === "x"
          ? values["x"]!
          : from === "input"
            ? values["w"]!
            : matmulReference({ m: n, n: k, k: 4 }, {}, { x: values["a"]!, w: values["b"]! });
      return { y: padChannels(matmulReference(sizes, {}, { ...values, w }), n) };
    },
  };
  sizesOf.set(made, sizes);
  packed.add(made);
  return made;
}

/** Those whose w is stored in 8 bits a value, and that are computed in integers. */
const integers = new WeakSet<OpCase>();

/**
 * Rows whose 32 neighbours have a largest magnitude of 127 steps each, the others near whole steps: every adapter rounds them to the same
 * integers, in f16 too, so that the products alone are measured. Steps are a power of two, another one from block to block.
 */
function nearSteps(m: number, k: number): Float32Array {
  return drawn(m * k, m + k).map((v, i) => {
    const step = 2 ** -(5 + (Math.floor(i / 32) % 3));
    const whole = i % 32 === (i >> 5) % 32 ? 127 * Math.sign(v) : Math.round(126 * v);
    return step * (whole + (Math.abs(whole) === 127 ? 0 : 0.25 * Math.sin(i)));
  });
}

/** x in 8 bits a value, by the definition: of 32 neighbours the largest is 127 steps. */
export function quantizedRows(x: Float32Array): Float32Array {
  const out = new Float32Array(x.length);
  for (let at = 0; at < x.length; at += 32) {
    const block = x.subarray(at, at + 32);
    const step = Math.max(...block.map(Math.abs)) / 127;
    for (const [i, v] of block.entries()) out[at + i] = step > 0 ? Math.round(v / step) * step : 0;
  }
  return out;
}

const INTEGER_TILES = ["bm=64 bn=64 tm=1 tn=1", "bm=32 bn=64 tm=1 tn=1", "bm=64 bn=128 tm=1 tn=2", "bm=128 bn=128 tm=2 tn=2"];

/** @param tile of `INTEGER_TILES`; the last two are of 128 columns at least */
function integer(size: Size, sizes: MatmulSizes, epilogue: Epilogue = {}, half = "xwy", tile = 0, limits?: OpCase["limits"]): OpCase {
  const variant = `dot_i8 ${INTEGER_TILES[tile]}`;
  const like = one(size, sizes, epilogue, half, limits);
  const made: OpCase = {
    ...like,
    variant,
    name: `${like.name}, w of q8_0, ${variant}`,
    // What is rounded are sums in f32, and the result.
    record(draw) {
      const { m, n, k } = sizes;
      const x = draw.input("x", [m, k], { data: nearSteps(m, k) });
      const w = draw.storedWeight("w", [n, k], "q8_0", { scale: k ** -0.5 });
      const options = optionsOf(draw, sizes, epilogue);
      return { y: matmul(x, w, epilogue.accumulate ? { ...options, residual: matmul(x, w) } : options) };
    },
    reference: (values) => ({ y: matmulReference(sizes, epilogue, { ...values, x: quantizedRows(values["x"]!) }) }),
  };
  sizesOf.set(made, sizes);
  integers.add(made);
  return made;
}
const numbers = (c: OpCase): boolean => !integers.has(c);

export const matmulCases: OpCases = {
  op: "matmul",
  kernels: [
    cpuKernel(matmulOctet, { needs: eightLanes, takes: numbers }),
    cpuKernel(matmulQuad, { needs: fewerLanes, takes: numbers }),
    matrixKernel(matmulSubgroupMatrix, { takes: (c, caps, precision) => numbers(c) && takesMatrices(c, caps, precision) }),
    { ...tiledKernel(matmulTiled), takes: numbers },
    ...[matmulDotI8, quantizePanels].map((kernel) =>
      gpuKernel(kernel as Kernel, { needs: integerProducts, takes: (c: OpCase) => integers.has(c) }),
    ),
    ...oneKernel(packOperand).map((choice) => ({ ...choice, takes: (c: OpCase) => packed.has(c) })),
  ],
  tolerance: { f32: 1e-5, f16: 1e-3 },
  cases: [
    // A single row: the timestep's embeddings and the modulation.
    one("tiny", TINY),
    ...["w", "xw", "x"].map((half) => one("tiny", TINY, { bias: true }, half)),
    one("odd", { m: 2, n: 68, k: 48 }, {}, "w"),
    ...["w", "xw", "x"].map((half) => one("odd", { m: 2, n: 68, k: 48 }, { bias: true }, half)),
    one("odd", { m: 2, n: 68, k: 48 }, { bias: true, activation: "silu" }, "w"),
    one("odd", { m: 2, n: 68, k: 48 }, { bias: true, residual: true }, "w"),
    one("odd", { m: 2, n: 68, k: 48 }, { residual: true }, "w"),
    one("odd", { m: 2, n: 68, k: 48 }, { bias: true, accumulate: true }, "w"),
    one("odd", { m: 2, n: 68, k: 48 }, { accumulate: true }, "w"),
    one("odd", { m: 2, n: 68, k: 48 }, { bias: true, addend: true, activation: "silu" }, "w"),
    one("odd", { m: 2, n: 16, k: 256 }, { gate: true }, "w"),
    // Every epilogue.
    ...epilogues.flatMap(([epilogue, halves]) => halves.map((half) => one("odd", ODD, epilogue, half))),
    ...epilogues.flatMap(([epilogue, halves]) =>
      halves.filter((half) => half !== "w" || !epilogue.activation).map((half) => one("model", LARGE, epilogue, half)),
    ),
    // Every tile, with inputs staged by 16, 8 and 4.
    ...[20, 24].map((k) => one("odd", { m: 67, n: 68, k }, { bias: true })),
    ...[5, 19, 131].flatMap((m) => [12, 36, 132].map((n) => one("odd", { m, n, k: 260 }, { bias: true }))),
    ...["w", "x"].flatMap((half) => [19, 67].map((m) => one("odd", { m, n: 16, k: 144 }, { gate: true }, half))),
    one("odd", { m: 19, n: 68, k: 48 }, {}, "w"),
    ...["xw", "x", "w"].flatMap((half) =>
      [11, 19].flatMap((m) => [
        one("odd", { m, n: 68, k: 48 }, { bias: true }, half),
        one("odd", { m, n: 68, k: 48 }, { bias: true, residual: true }, half),
        one("odd", { m, n: 68, k: 48 }, { bias: true, accumulate: true }, half),
      ]),
    ),
    // Windows of rows and of weights, and a grid that folds.
    one("odd", { m: 520, n: 196, k: 64 }, { bias: true }, "xwy", { maxBindingBytes: 64 * 1024, maxGrid: 17 }),
    // By head: heads that are no panels, heads wider and narrower than a tile; windows of rows, of weights and of heads.
    ...[
      [12, 60],
      [20, 140],
      [64, 192],
      [128, 256],
    ].flatMap(([heads, n]) => [5, 67].map((m) => one("odd", { m, n: n!, k: 48 }, { bias: true, heads: heads! }))),
    one("odd", { m: 67, n: 96, k: 48 }, { bias: true, addend: true, heads: 24 }),
    one("odd", { m: 520, n: 192, k: 64 }, { bias: true, heads: 24 }, "xwy", { maxBindingBytes: 112 * 1024, maxGrid: 17 }),
    one("odd", { m: 520, n: 192, k: 64 }, { bias: true, accumulate: true }, "xw", { maxBindingBytes: 64 * 1024, maxGrid: 17 }),
    // What is no weight: sizes that fill no panel, and none of its inputs; a window of w; w that is f16 where x is not.
    operand("tiny", { m: 1, n: 1, k: 1 }, "input"),
    operand("odd", { m: 5, n: 7, k: 29 }, "input"),
    operand("odd", { m: 19, n: 68, k: 48 }, "input", "w"),
    operand("odd", { m: 67, n: 68, k: 48 }, "input"),
    operand("odd", { m: 67, n: 68, k: 48 }, "node"),
    operand("odd", { m: 19, n: 37, k: 20 }, "node"),
    operand("odd", { m: 45, n: 45, k: 36 }, "x"),
    operand("odd", { m: 130, n: 523, k: 64 }, "input", "xwy", { maxBindingBytes: 64 * 1024, maxGrid: 17 }),
    operand("model", { m: 65, n: 1920, k: 1920 }, "input"),
    // In integers: every epilogue, every tile, windows and heads.
    integer("tiny", { m: 1, n: 4, k: 32 }),
    ...epilogues.map(([epilogue]) => integer("odd", { m: 67, n: 68, k: 96 }, epilogue, "xy")),
    ...INTEGER_TILES.flatMap((_, tile) =>
      ["xwy", "x"].map((half) => integer("odd", { m: 131, n: 140, k: 160 }, { bias: true }, half, tile)),
    ),
    ...[12, 20, 64].map((heads) => integer("odd", { m: 67, n: 3 * heads, k: 64 }, { bias: true, heads })),
    integer("odd", { m: 520, n: 196, k: 64 }, { bias: true }, "xwy", 0, { maxBindingBytes: 64 * 1024, maxGrid: 17 }),
    integer("odd", { m: 520, n: 192, k: 128 }, { bias: true, heads: 24 }, "xwy", 0, { maxBindingBytes: 112 * 1024, maxGrid: 17 }),
    integer("odd", { m: 520, n: 192, k: 64 }, { bias: true, accumulate: true }, "x", 0, { maxBindingBytes: 64 * 1024, maxGrid: 17 }),
    integer("model", { m: 65, n: 1920, k: 1920 }, { bias: true, heads: 64 }),
    integer("model", { m: 65, n: 1920, k: 7680 }, { bias: true, accumulate: true, gate: true }, "xw", 3),
    // 2B: q, k or v; the feed-forward layer's two; the text's projection. 5B: attention's output. AdaLN of 5B. T5: wi, wo.
    one("model", { m: 65, n: 1920, k: 1920 }, { bias: true, heads: 64 }),
    one("model", { m: 65, n: 7680, k: 1920 }, { bias: true, activation: "gelu" }),
    one("model", { m: 65, n: 1920, k: 7680 }, { bias: true, accumulate: true, gate: true }, "xw"),
    one("model", { m: 66, n: 1920, k: 4096 }, { bias: true }, "w"),
    one("model", { m: 65, n: 3072, k: 3072 }, { bias: true, accumulate: true, gate: true }, "xw"),
    one("model", { m: 2, n: 18432, k: 512 }, { bias: true }, "w"),
    one("model", { m: 9, n: 10240, k: 4096 }, {}, "xw"),
    one("model", { m: 17, n: 4096, k: 10240 }, { accumulate: true }, "w"),
    one("model", { m: 17, n: 4096, k: 4096 }, { heads: 64 }, "xwy"),
  ],
};
