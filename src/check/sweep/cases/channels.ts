/** channels_last and channels_first: there and back again, numbers of channels around the vectors. */
import { channelsFirst as firstKernel, channelsLast as lastKernel } from "#kernels";
import { elements } from "../../../graph/dtype.ts";
import { channelsFirst, channelsLast } from "../../../ops/channels.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import { drawn, padChannels, type Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

type Five = readonly [number, number, number, number, number];
const title = (shape: readonly number[], limits?: OpCase["limits"]): string => `[${shape.join(", ")}]${limits ? ", in windows" : ""}`;

export function channelsReference([B, C, T, H, W]: Five, { x }: Values): Float64Array {
  const plane = T * H * W;
  const out = new Float64Array(x!.length);
  for (let b = 0; b < B; b++)
    for (let c = 0; c < C; c++) for (let p = 0; p < plane; p++) out[(b * plane + p) * C + c] = x![(b * C + c) * plane + p]!;
  return padChannels(out, C);
}

function one(size: Size, shape: Five, limits?: OpCase["limits"]): OpCase {
  return {
    size,
    name: title(shape, limits),
    half: ["y"],
    ...(limits ? { limits } : {}),
    record(draw) {
      // Multiples of 2^-8, which f16 holds: there and back again nothing may change.
      const x = draw.input("x", shape, { data: drawn(elements(shape), 1).map((v) => Math.round(v * 256) / 256) });
      const y = channelsLast(x, { dtype: draw.type("y") });
      return { y, back: channelsFirst(y, shape[1]) };
    },
    reference: (values) => ({ y: channelsReference(shape, values), back: values["x"]! }),
  };
}

export const channelsCases: OpCases = {
  op: "channels",
  kernels: [...oneKernel(lastKernel), ...oneKernel(firstKernel)],
  tolerance: { f32: 0, f16: 0 },
  cases: [
    one("tiny", [1, 1, 1, 1, 1]),
    one("odd", [1, 3, 2, 5, 7]),
    one("odd", [2, 5, 1, 3, 3]),
    one("odd", [2, 10, 2, 9, 5]),
    one("odd", [1, 3, 4, 15, 25], { maxBindingBytes: 20 * 1024 }),
    one("model", [1, 16, 3, 30, 45]),
  ],
};
