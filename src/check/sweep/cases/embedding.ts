/** embedding: ids over all of the table, windows of the table. */
import { embedding as kernel } from "#kernels";
import { embedding } from "../../../ops/embedding.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

/** What only moves values moves them exactly; with f16 storage they are rounded once. */
const MOVES = { f32: 0, f16: 1e-3 };

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

function one(size: Size, sizes: EmbeddingSizes, { half = "ty", limits }: { half?: string; limits?: OpCase["limits"] } = {}): OpCase {
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
  kernels: oneKernel(kernel),
  tolerance: MOVES,
  cases: [
    one("tiny", { vocab: 1, c: 4, tokens: 1 }),
    one("odd", { vocab: 45, c: 20, tokens: 29 }),
    one("odd", { vocab: 131, c: 260, tokens: 67 }, { half: "t" }),
    one("odd", { vocab: 1000, c: 36, tokens: 150 }, { limits: { maxBindingBytes: 16384, maxGrid: 9 } }),
    one("model", { vocab: 1000, c: 4096, tokens: 226 }, { half: "t" }),
  ],
};
