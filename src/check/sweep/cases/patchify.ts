/** patchify and unpatchify: patches of 1 to 3 frames, repeated samples, channels of a second tensor. */
import { patchify as kernel } from "#kernels";
import { patchify, unpatchify } from "../../../ops/patchify.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

/** What only moves values moves them exactly; with f16 storage they are rounded once. */
const MOVES = { f32: 0, f16: 1e-3 };

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

function one(size: Size, sizes: PatchSizes): OpCase {
  const { samples, repeat, p, pt, grid, channels, extra } = sizes;
  const [f, h, w] = [grid[0] * pt, grid[1] * p, grid[2] * p];
  return {
    size,
    name:
      `${samples}${repeat > 1 ? ` twice` : ""} × [${f}, ${channels}${extra ? ` + ${extra}` : ""}, ${h}, ` +
      `${w}], patches of ${pt} × ${p}²`,
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
  kernels: oneKernel(kernel),
  tolerance: MOVES,
  cases: [
    one("tiny", { samples: 1, repeat: 1, p: 1, pt: 1, grid: [1, 1, 1], channels: 4 }),
    one("odd", { samples: 1, repeat: 2, p: 2, pt: 1, grid: [2, 3, 5], channels: 4, extra: 4 }),
    one("odd", { samples: 2, repeat: 2, p: 2, pt: 2, grid: [2, 3, 5], channels: 4, extra: 4 }),
    one("odd", { samples: 2, repeat: 1, p: 1, pt: 3, grid: [1, 3, 7], channels: 4 }),
    one("model", { samples: 1, repeat: 2, p: 2, pt: 1, grid: [3, 15, 22], channels: 16 }),
    one("model", { samples: 1, repeat: 2, p: 2, pt: 1, grid: [3, 15, 22], channels: 16, extra: 16 }),
    one("model", { samples: 1, repeat: 2, p: 2, pt: 2, grid: [2, 12, 20], channels: 16 }),
    one("model", { samples: 1, repeat: 2, p: 2, pt: 2, grid: [2, 12, 20], channels: 16, extra: 16 }),
  ],
};
