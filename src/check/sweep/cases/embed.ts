/** The ops around the transformer's blocks: patches, sequences, timesteps, embeddings, T5's position bias. */
import {
  embedding as embeddingKernel,
  joinTokens as joinKernel,
  patchify as patchifyKernel,
  relativeBias as biasKernel,
  timestepEmbedding as timestepKernel,
} from "#kernels";
import type { Kernel } from "../../../gpu/kernel.ts";
import { embedding } from "../../../ops/embedding.ts";
import { joinTokens } from "../../../ops/join_tokens.ts";
import { patchify, unpatchify } from "../../../ops/patchify.ts";
import { relativeBias, relativeBuckets } from "../../../ops/relative_bias.ts";
import { timestepEmbedding } from "../../../ops/timestep_embedding.ts";
import { oneKernel, type OpCase, type OpCases, type Size, type Values } from "../case.ts";

/** What only moves values moves them exactly; with f16 storage they are rounded once. */
const MOVES = { f32: 0, f16: 1e-3 };

// ---------------------------------------------------------------- patchify and unpatchify

export interface PatchSizes {
  readonly samples: number;
  /** Times the samples are repeated. */
  readonly repeat: number;
  readonly p: number;
  readonly pt: number;
  /** Patches along frames, rows and columns. */
  readonly grid: readonly [number, number, number];
  readonly channels: number;
  readonly extra?: number;
}

export function patchifyReference({ samples, repeat, p, pt, grid, channels, extra = 0 }: PatchSizes, { x, e }: Values): Float64Array {
  const [f, h, w] = [grid[0] * pt, grid[1] * p, grid[2] * p];
  const out: number[] = [];
  for (let b = 0; b < samples * repeat; b++)
    for (let i = 0; i < grid[0]; i++)
      for (let r = 0; r < grid[1]; r++)
        for (let c = 0; c < grid[2]; c++)
          for (let ch = 0; ch < channels + extra; ch++)
            for (let t = 0; t < pt; t++)
              for (let y = 0; y < p; y++)
                for (let z = 0; z < p; z++) {
                  const [source, all, channel] = ch < channels ? [x!, channels, ch] : [e!, extra, ch - channels];
                  out.push(source[((((b % samples) * f + i * pt + t) * all + channel) * h + r * p + y) * w + c * p + z]!);
                }
  return Float64Array.from(out);
}

function patches(size: Size, sizes: PatchSizes): OpCase {
  const { samples, repeat, p, pt, grid, channels, extra } = sizes;
  const [f, h, w] = [grid[0] * pt, grid[1] * p, grid[2] * p];
  return {
    size,
    name: `${samples}${repeat > 1 ? ` twice` : ""} × [${f}, ${channels}${extra ? ` + ${extra}` : ""}, ${h}, ${w}], patches of ${pt} × ${p}²`,
    half: ["y"],
    record(draw) {
      const x = draw.input("x", [samples, f, channels, h, w]);
      const tokens = patchify(x, {
        patchSize: p,
        patchSizeT: pt,
        batch: samples * repeat,
        dtype: draw.type("y"),
        ...(extra ? { extra: draw.input("e", [samples, f, extra, h, w]) } : {}),
      });
      // The way back is taken without the extra channels.
      return {
        tokens,
        back: unpatchify(patchify(x, { patchSize: p, patchSizeT: pt }), {
          patchSize: p,
          patchSizeT: pt,
          channels,
          frames: f,
          height: h,
          width: w,
        }),
      };
    },
    reference: (values) => ({ tokens: patchifyReference(sizes, values), back: values["x"]! }),
  };
}

export const patchifyCases: OpCases = {
  op: "patchify",
  kernels: oneKernel(patchifyKernel as Kernel),
  tolerance: MOVES,
  cases: [
    patches("tiny", { samples: 1, repeat: 1, p: 1, pt: 1, grid: [1, 1, 1], channels: 4 }),
    patches("odd", { samples: 1, repeat: 2, p: 2, pt: 1, grid: [2, 3, 5], channels: 4, extra: 4 }),
    patches("odd", { samples: 2, repeat: 2, p: 2, pt: 2, grid: [2, 3, 5], channels: 4, extra: 4 }),
    patches("odd", { samples: 2, repeat: 1, p: 1, pt: 3, grid: [1, 3, 7], channels: 4 }),
    patches("model", { samples: 1, repeat: 2, p: 2, pt: 1, grid: [3, 15, 22], channels: 16 }),
    patches("model", { samples: 1, repeat: 2, p: 2, pt: 1, grid: [3, 15, 22], channels: 16, extra: 16 }),
    patches("model", { samples: 1, repeat: 2, p: 2, pt: 2, grid: [2, 12, 20], channels: 16 }),
    patches("model", { samples: 1, repeat: 2, p: 2, pt: 2, grid: [2, 12, 20], channels: 16, extra: 16 }),
  ],
};

// ---------------------------------------------------------------- join_tokens

export interface JoinSizes {
  readonly batch: number;
  readonly text: number;
  readonly video: number;
  readonly d: number;
  readonly positions?: boolean;
}

export function joinTokensReference({ batch, text: t, video: v, d }: JoinSizes, { text, video, position }: Values): Float64Array {
  const out = new Float64Array(batch * (t + v) * d);
  for (let b = 0; b < batch; b++)
    for (let r = 0; r < t + v; r++)
      for (let c = 0; c < d; c++) {
        out[(b * (t + v) + r) * d + c] =
          (r < t ? text![(b * t + r) * d + c]! : video![(b * v + r - t) * d + c]!) + (position ? position[r * d + c]! : 0);
      }
  return out;
}

function join(size: Size, sizes: JoinSizes, limits?: OpCase["limits"]): OpCase {
  const { batch, text, video, d, positions = true } = sizes;
  return {
    size,
    name: `${batch} × (${text} + ${video}) × ${d}${positions ? ", with positions" : ""}${limits ? ", in windows" : ""}`,
    // Models join tokens in f32; windows of f16 rows would start where no binding may.
    ...(limits ? { limits, half: [] } : {}),
    record: (draw) => ({
      y: joinTokens(
        draw.input("text", [batch, text, d]),
        draw.input("video", [batch, video, d]),
        positions ? draw.input32("position", [text + video, d]) : undefined,
      ),
    }),
    reference: (values) => ({ y: joinTokensReference(sizes, values) }),
  };
}

export const joinTokensCases: OpCases = {
  op: "join_tokens",
  kernels: oneKernel(joinKernel as Kernel),
  tolerance: { f32: 1e-7, f16: 1e-3 },
  cases: [
    join("tiny", { batch: 1, text: 1, video: 1, d: 4 }),
    join("odd", { batch: 2, text: 5, video: 60, d: 36 }),
    join("odd", { batch: 3, text: 7, video: 19, d: 20, positions: false }),
    join("odd", { batch: 2, text: 5, video: 60, d: 64 }, { maxBindingBytes: 16384, maxGrid: 7 }),
    join("model", { batch: 2, text: 226, video: 30, d: 1920 }),
    join("model", { batch: 2, text: 226, video: 30, d: 3072, positions: false }),
  ],
};

// ---------------------------------------------------------------- timestep_embedding

export interface TimestepSizes {
  readonly steps: readonly number[];
  readonly dim: number;
  readonly flipSinToCos: boolean;
  readonly freqShift: number;
}

/** The frequencies in float32 step by step, as published implementations have them; sine and cosine exact. */
export function timestepReference({ steps, dim, flipSinToCos, freqShift }: TimestepSizes): Float64Array {
  const half = dim / 2;
  const out = new Float64Array(steps.length * dim);
  steps.forEach((step, b) => {
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(
        step * Math.fround(Math.exp(Math.fround(Math.fround(Math.fround(-Math.log(10000)) * i) / (half - freqShift)))),
      );
      out[b * dim + i] = flipSinToCos ? Math.cos(angle) : Math.sin(angle);
      out[b * dim + half + i] = flipSinToCos ? Math.sin(angle) : Math.cos(angle);
    }
  });
  return out;
}

function timestep(size: Size, sizes: TimestepSizes): OpCase {
  return {
    size,
    name: `${sizes.steps.length} × ${sizes.dim}, ${sizes.flipSinToCos ? "cos" : "sin"} first, shift ${sizes.freqShift}`,
    half: [],
    record: (draw) => ({ y: timestepEmbedding(draw.input32("t", [sizes.steps.length], { data: sizes.steps }), sizes) }),
    reference: () => ({ y: timestepReference(sizes) }),
  };
}

export const timestepEmbeddingCases: OpCases = {
  op: "timestep_embedding",
  kernels: oneKernel(timestepKernel as Kernel),
  tolerance: { f32: 1e-6, f16: 1e-6 },
  cases: [
    timestep("tiny", { steps: [999], dim: 4, flipSinToCos: true, freqShift: 0 }),
    timestep("odd", { steps: [0, 1, 19, 499, 979, 999], dim: 128, flipSinToCos: true, freqShift: 0 }),
    timestep("odd", { steps: [0, 1, 19, 499, 979, 999], dim: 132, flipSinToCos: false, freqShift: 1 }),
    timestep("model", { steps: [999, 979], dim: 1920, flipSinToCos: true, freqShift: 0 }),
    timestep("model", { steps: [2, 2], dim: 512, flipSinToCos: true, freqShift: 0 }),
  ],
};

// ---------------------------------------------------------------- embedding

export interface EmbeddingSizes {
  readonly vocab: number;
  readonly c: number;
  readonly tokens: number;
}

const someIds = ({ tokens, vocab }: EmbeddingSizes): Uint32Array =>
  Uint32Array.from({ length: tokens }, (_, i) => (i * 7919 + vocab - 1) % vocab);

export function embeddingReference(sizes: EmbeddingSizes, { table }: Values): Float64Array {
  return Float64Array.from([...someIds(sizes)].flatMap((id) => [...table!.subarray(id * sizes.c, (id + 1) * sizes.c)]));
}

function embed(size: Size, sizes: EmbeddingSizes, { half = "ty", limits }: { half?: string; limits?: OpCase["limits"] } = {}): OpCase {
  const { vocab, c, tokens } = sizes;
  return {
    size,
    name: `${tokens} ids in ${vocab} × ${c}${limits ? ", in windows" : ""} (${half})`,
    half: half === "t" ? ["table"] : ["table", "y"],
    ...(limits ? { limits } : {}),
    record: (draw) => ({ y: embedding(draw.rows("ids", someIds(sizes)), draw.weight("table", [vocab, c]), { dtype: draw.type("y") }) }),
    reference: (values) => ({ y: embeddingReference(sizes, values) }),
  };
}

export const embeddingCases: OpCases = {
  op: "embedding",
  kernels: oneKernel(embeddingKernel as Kernel),
  tolerance: MOVES,
  cases: [
    embed("tiny", { vocab: 1, c: 4, tokens: 1 }),
    embed("odd", { vocab: 45, c: 20, tokens: 29 }),
    embed("odd", { vocab: 131, c: 260, tokens: 67 }, { half: "t" }),
    embed("odd", { vocab: 1000, c: 36, tokens: 150 }, { limits: { maxBindingBytes: 16384, maxGrid: 9 } }),
    embed("model", { vocab: 1000, c: 4096, tokens: 226 }, { half: "t" }),
  ],
};

// ---------------------------------------------------------------- relative_bias

export interface BiasSizes {
  readonly length: number;
  readonly heads: number;
  readonly buckets: number;
  readonly maxDistance: number;
}

/** The buckets themselves are held to transformers' in test/ops/relative_bias.test.ts. */
export function relativeBiasReference({ length, heads, buckets, maxDistance }: BiasSizes, { table }: Values): Float64Array {
  const bucket = relativeBuckets(length, buckets, maxDistance);
  return Float64Array.from(
    { length: heads * bucket.length },
    (_, i) => table![bucket[i % bucket.length]! * heads + Math.floor(i / bucket.length)]!,
  );
}

function bias(size: Size, sizes: BiasSizes): OpCase {
  return {
    size,
    name: `${sizes.length} tokens, ${sizes.heads} heads, ${sizes.buckets} buckets`,
    half: ["table"],
    record: (draw) => ({ y: relativeBias(draw.weight("table", [sizes.buckets, sizes.heads]), sizes) }),
    reference: (values) => ({ y: relativeBiasReference(sizes, values) }),
  };
}

export const relativeBiasCases: OpCases = {
  op: "relative_bias",
  kernels: oneKernel(biasKernel as Kernel),
  tolerance: MOVES,
  cases: [
    bias("tiny", { length: 1, heads: 1, buckets: 8, maxDistance: 6 }),
    bias("odd", { length: 11, heads: 3, buckets: 8, maxDistance: 6 }),
    bias("odd", { length: 150, heads: 5, buckets: 32, maxDistance: 128 }),
    bias("model", { length: 226, heads: 64, buckets: 32, maxDistance: 128 }),
  ],
};
