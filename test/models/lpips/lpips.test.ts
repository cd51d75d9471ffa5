/**
 * LPIPS over the three networks, narrow and with random weights, against the definition in float64; and the files that it is read from,
 * which name the same weights in several ways.
 */
import { describe, expect, test } from "vitest";
import { drawn } from "../../../src/check/sweep/draw.ts";
import { writeSafetensors } from "../../../src/files/safetensors.ts";
import { differentiate } from "../../../src/gradient/differentiate.ts";
import { watch } from "../../../src/gradient/watch.ts";
import { Graph } from "../../../src/graph/graph.ts";
import { recordLpips } from "../../../src/models/lpips/forward.ts";
import { leastSide, type LpipsKind, lpipsNetwork, lpipsWeights } from "../../../src/models/lpips/layers.ts";
import { openLpips } from "../../../src/models/lpips/open.ts";
import { channelsLast } from "../../../src/ops/channels.ts";
import { runGraph } from "../../../src/run/run-graph.ts";
import { memorySource } from "../../../src/sources/memory.ts";
import { testGpu } from "../../support/gpu.ts";

/** Convolutions by name: of each its taps; all have few channels. */
const CONVOLUTIONS: Record<LpipsKind, readonly (readonly [name: string, taps: number])[]> = {
  vgg: [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28].map((i) => [`net.features.${i}`, 3]),
  "shift-tolerant-vgg": ["1.0", "1.2", "2.6", "2.8", "3.12", "3.14", "3.16", "4.20", "4.22", "4.24", "5.28", "5.30", "5.32"].map((i) => [
    `net.slice${i}`,
    3,
  ]),
  "shift-tolerant-alex": [
    ["net.slice1.0", 11],
    ["net.slice2.5", 5],
    ["net.slice3.9", 3],
    ["net.slice4.11", 3],
    ["net.slice5.13", 3],
  ],
};
/** After which convolutions features are taken. */
const ENDS: Record<LpipsKind, readonly number[]> = {
  vgg: [1, 3, 6, 9, 12],
  "shift-tolerant-vgg": [1, 3, 6, 9, 12],
  "shift-tolerant-alex": [0, 1, 2, 3, 4],
};

interface Values {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}
type Named = readonly (readonly [string, Values])[];
type Weights = Map<string, Values>;
function weightsOf(kind: LpipsKind): Weights {
  const weights: Weights = new Map();
  let channels = 3;
  for (const [i, [name, taps]] of CONVOLUTIONS[kind].entries()) {
    const out = 4 + (i % 3);
    const shape = [out, channels, taps, taps];
    weights.set(`${name}.weight`, { shape, data: drawn(out * channels * taps ** 2, i + 1, 2.5 / Math.sqrt(channels * taps ** 2)) });
    weights.set(`${name}.bias`, { shape: [out], data: drawn(out, i + 100, 0.1) });
    const head = ENDS[kind].indexOf(i);
    if (head >= 0) weights.set(`lin${head}.model.1.weight`, { shape: [1, out, 1, 1], data: drawn(out, i + 50).map((v) => 1.2 + v) });
    channels = out;
  }
  return weights;
}

/** Planes of a picture. */
interface Picture {
  readonly side: number;
  readonly planes: Float64Array[];
}
const each = (side: number, value: (i: number, j: number) => number): Float64Array =>
  Float64Array.from({ length: side * side }, (_, at) => value(Math.floor(at / side), at % side));

function conv({ side, planes }: Picture, { shape, data }: Values, bias: Float32Array, pad: number): Picture {
  const [out, channels, taps] = shape as [number, number, number];
  const size = side + 2 * pad - taps + 1;
  const made = Array.from({ length: out }, (_, o) =>
    each(size, (i, j) => {
      let sum = bias[o]!;
      for (let c = 0; c < channels; c++)
        for (let r = 0; r < taps; r++)
          for (let q = 0; q < taps; q++) {
            const [h, w] = [i + r - pad, j + q - pad];
            if (h >= 0 && w >= 0 && h < side && w < side)
              sum += planes[c]![h * side + w]! * data[((o * channels + c) * taps + r) * taps + q]!;
          }
      return sum;
    }),
  );
  return { side: size, planes: made };
}
const relu = ({ side, planes }: Picture): Picture => ({ side, planes: planes.map((p) => p.map((v) => Math.max(0, v))) });
function maxPool({ side, planes }: Picture, kernel: number, stride: number): Picture {
  const size = Math.floor((side - kernel) / stride) + 1;
  const at = (p: Float64Array, i: number, j: number) =>
    Math.max(
      ...Array.from({ length: kernel ** 2 }, (_, k) => p[(i * stride + Math.floor(k / kernel)) * side + j * stride + (k % kernel)]!),
    );
  return { side: size, planes: planes.map((p) => each(size, (i, j) => at(p, i, j))) };
}
function blurPool({ side, planes }: Picture): Picture {
  const mirror = (i: number) => (i < 0 ? -i : i >= side ? 2 * (side - 1) - i : i);
  const size = Math.floor((side + 1) / 2) + 1;
  const at = (p: Float64Array, i: number, j: number) =>
    [0, 1, 2].reduce(
      (sum, r) =>
        sum +
        [0, 1, 2].reduce((s, q) => s + ([1, 2, 1][r]! * [1, 2, 1][q]! * p[mirror(2 * i + r - 2) * side + mirror(2 * j + q - 2)]!) / 16, 0),
      0,
    );
  return { side: size, planes: planes.map((p) => each(size, (i, j) => at(p, i, j))) };
}

function features(kind: LpipsKind, weights: Weights, picture: Picture): Picture[] {
  const [shift, scale] = [
    [-0.03, -0.088, -0.188],
    [0.458, 0.448, 0.45],
  ];
  let h: Picture = { side: picture.side, planes: picture.planes.map((p, c) => p.map((v) => (v - shift[c]!) / scale[c]!)) };
  const found: Picture[] = [];
  for (const [i, [name, taps]] of CONVOLUTIONS[kind].entries()) {
    const pools = i > 0 && ENDS[kind].includes(i - 1);
    // The last two convolutions of the AlexNet follow without a pool.
    if (pools && kind === "vgg") h = maxPool(h, 2, 2);
    else if (pools && kind === "shift-tolerant-vgg") h = blurPool(maxPool(h, 2, 1));
    else if (pools && i < 3) h = blurPool(maxPool(h, 3, 1));
    h = conv(h, weights.get(`${name}.weight`)!, weights.get(`${name}.bias`)!.data, taps === 3 ? 1 : 2);
    if (kind === "shift-tolerant-alex" && i === 0) h = blurPool(h);
    h = relu(h);
    if (ENDS[kind].includes(i)) found.push(h);
  }
  return found;
}

function distance(kind: LpipsKind, weights: Weights, a: Picture, b: Picture): number {
  const [of, others] = [features(kind, weights, a), features(kind, weights, b)];
  return of.reduce((total, { side, planes }, k) => {
    const head = weights.get(`lin${k}.model.1.weight`)!.data;
    let sum = 0;
    for (let p = 0; p < side * side; p++) {
      const norm = (picture: Picture) => Math.hypot(...picture.planes.map((plane) => plane[p]!)) + 1e-10;
      const [n, m] = [norm({ side, planes }), norm(others[k]!)];
      planes.forEach((plane, c) => void (sum += head[c]! * (plane[p]! / n - others[k]!.planes[c]![p]! / m) ** 2));
    }
    return total + sum / side ** 2;
  }, 0);
}

const SIDE = 23;
const pictures = (seed: number, side = SIDE): Float32Array => drawn(3 * side * side, seed);
const pictureOf = (data: ArrayLike<number>): Picture => ({
  side: SIDE,
  planes: [0, 1, 2].map((c) => Float64Array.from({ length: SIDE * SIDE }, (_, i) => data[c * SIDE * SIDE + i]!)),
});
const fileOf = (weights: Iterable<readonly [string, Values]>) => ({
  source: memorySource(
    {
      file: writeSafetensors(Object.fromEntries([...weights].map(([name, { shape, data }]) => [name, { dtype: "F32", shape, data }])), {}),
    },
    "memory",
  ),
  path: "file",
});

test.each(Object.keys(CONVOLUTIONS) as LpipsKind[])(
  "%s: the distance and its slopes are those of the definition",
  { timeout: 120_000 },
  async (kind) => {
    const own = weightsOf(kind);
    const { network, weights } = await openLpips([fileOf(own)]);
    expect(network.kind).toBe(kind);
    const graph = new Graph("lpips", weights.type);
    const [a, b] = ["a", "b"].map((name) => watch(graph.input(name, [1, 3, 1, SIDE, SIDE])));
    const y = recordLpips(network, channelsLast(a!), channelsLast(b!));
    graph.output("y", y);
    for (const [i, gradient] of differentiate([{ of: y, gradient: graph.input("dy", [1]) }], [a!, b!]).entries())
      graph.output(`gradient.${i}`, gradient!);
    const [of, other] = [pictures(7), pictures(8)];
    const got = await runGraph(await testGpu(), graph, { a: of, b: other, dy: Float32Array.of(2) }, weights);
    expect(got["y"]![0]! / distance(kind, own, pictureOf(of), pictureOf(other))).toBeCloseTo(1, 5);
    const exact = [of, other].map((data) => Float64Array.from(data));
    for (const i of [0, 1]) {
      const direction = drawn(of.length, 20 + i);
      const at = (sign: number) => {
        const [x, z] = exact.map((data, k) => pictureOf(k === i ? data.map((v, j) => v + sign * 1e-6 * direction[j]!) : data));
        return distance(kind, own, x!, z!);
      };
      const slope = got[`gradient.${i}`]!.reduce((sum, v, j) => sum + v * direction[j]!, 0);
      expect(slope / ((2 * (at(1) - at(-1))) / 2e-6)).toBeCloseTo(1, 3);
    }
  },
);

describe("files", () => {
  const own = weightsOf("vgg");
  const backbone = [...own].filter(([name]) => name.startsWith("net."));
  const heads = [...own].filter(([name]) => name.startsWith("lin"));
  const slices = [1, 1, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5];

  test.each<[string, Named[]]>([
    ["torchvision's VGG16 and the heads", [backbone.map(([name, w]) => [name.replace("net.", ""), w] as const), heads]],
    [
      "a whole LPIPS, counted by slice, with what its layers share",
      [
        [
          ...backbone.map(([name, w], i) => [name.replace("net.features", `net.slice${slices[Math.floor(i / 2)]}`), w] as const),
          ...heads,
          ["lins.0.model.1.weight", heads[0]![1]] as const,
          ["scaling_layer.shift", { shape: [1, 3, 1, 1], data: Float32Array.of(-0.03, -0.088, -0.188) }] as const,
        ],
      ],
    ],
  ])("%s", async (_, files) => {
    const { network, weights } = await openLpips(files.map(fileOf));
    expect(network).toEqual(lpipsNetwork((name) => own.get(name)?.shape));
    for (const name of lpipsWeights(network).keys()) {
      const { shape, read } = weights.stored(name);
      const values = new Float32Array(own.get(name)!.data.length);
      await read(0, new Uint8Array(values.buffer));
      expect([name, shape, values]).toEqual([name, own.get(name)!.shape, own.get(name)!.data]);
    }
  });

  test("digests tell other convolutions from other heads, however they are spread over files", async () => {
    const of = async (...files: Named[]) => (await openLpips(files.map(fileOf))).digests();
    const whole = await of([...own]);
    expect(await of(heads, backbone)).toEqual(whole);
    const [[name, head]] = heads as unknown as [[string, Values]];
    const other = await of(backbone, [[name, { ...head, data: head.data.map((v, i) => (i ? v : v + 1e-6)) }], ...heads.slice(1)]);
    expect(other.net).toBe(whole.net);
    expect(other.heads).not.toBe(whole.heads);
  });

  test("what is no file of tensors is told as what it is", async () => {
    const open = (path: string, text: string) => openLpips([{ source: memorySource({ [path]: new TextEncoder().encode(text) }), path }]);
    const rule = /must be tensors that torch saved \(\.pth, \.pt\), or safetensors, got /;
    await expect(open("a.pth", "<!doctype html><html>")).rejects.toThrow(new RegExp(`${rule.source}a web page`));
    await expect(open("a.pth", "hello world, no tensors")).rejects.toThrow(new RegExp(`${rule.source}something else`));
    await expect(open("a.pth", "")).rejects.toThrow(new RegExp(`${rule.source}an empty file`));
  });

  test("a network without its heads, one with a gap, another filter and another network are refused by name", async () => {
    await expect(openLpips([fileOf(backbone)])).rejects.toThrow(/got VGG16 alone; name the file of the package lpips too/);
    await expect(openLpips([fileOf(heads)])).rejects.toThrow(/got heads alone; name torchvision's VGG16 too/);
    const few = [...backbone, ...heads.slice(0, 2)];
    await expect(openLpips([fileOf(few)])).rejects.toThrow(/\[lpips\] lin2\.model\.1\.weight must be \[1, \d, 1, 1\], got none/);
    const gap = [...own].filter(([name]) => name !== "net.features.10.weight");
    await expect(openLpips([fileOf(gap)])).rejects.toThrow(
      /\[lpips\] net\.features\.10\.weight must be \[channels, 7?\d, k, k\].*got none/,
    );
    const blurred = [
      ...weightsOf("shift-tolerant-alex"),
      ["net.slice1.1.filt", { shape: [1, 1, 3, 3], data: new Float32Array(9) }] as const,
    ];
    await expect(openLpips([fileOf(blurred)])).rejects.toThrow(/net\.slice1\.1\.filt must be 0\.0625, 0\.125/);
    await expect(openLpips([fileOf([["conv.weight", { shape: [1], data: new Float32Array(1) }]])])).rejects.toThrow(
      /\[lpips\] weights must be those of VGG16/,
    );
  });

  test("a picture that a layer would run out of is refused", () => {
    const network = lpipsNetwork((name) => own.get(name)?.shape);
    expect(leastSide(network)).toBe(16);
    const x = new Graph("small").input("x", [1, 1, 15, 40, 4]);
    expect(() => recordLpips(network, x, x)).toThrow(/\[lpips\] pictures must have 16 rows and columns at least, got 15 × 40/);
  });
});
