/** embedding_gradient: rows that nothing reads, one, or many read; ids that are known and given, windows of both sides. */
import { embeddingGradient as kernel, embeddingReaders } from "#kernels";
import { embeddingGradient } from "../../../ops/embedding_gradient.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export interface EmbeddingGradientSizes {
  readonly vocab: number;
  readonly c: number;
  readonly tokens: number;
  /** Row of the table that token r reads. */
  readonly row?: (r: number) => number;
  /** The ids are an input. */
  readonly given?: boolean;
}

const idsOf = ({ tokens, vocab, row = (r) => (r * r * 7) % vocab }: EmbeddingGradientSizes): Uint32Array =>
  Uint32Array.from({ length: tokens }, (_, r) => row(r));

export function embeddingGradientReference(sizes: EmbeddingGradientSizes, { dy }: Values): Float64Array {
  const { vocab, c } = sizes;
  const dtable = new Float64Array(vocab * c);
  for (const [r, id] of idsOf(sizes).entries()) for (let i = 0; i < c; i++) dtable[Math.min(id, vocab - 1) * c + i]! += dy![r * c + i]!;
  return dtable;
}

function one(size: Size, sizes: EmbeddingGradientSizes, title = "", limits?: OpCase["limits"]): OpCase {
  const { vocab, c, tokens, given } = sizes;
  return {
    size,
    name: `${tokens} ids${given ? ", an input," : ""} in ${vocab} × ${c}${title}`,
    ...(limits ? { limits } : {}),
    record: (draw) => ({
      dtable: embeddingGradient(draw.rows("ids", idsOf(sizes), given ? "input" : "constant"), draw.input("dy", [tokens, c]), vocab),
    }),
    reference: (values) => ({ dtable: embeddingGradientReference(sizes, values) }),
  };
}

export const embeddingGradientCases: OpCases = {
  op: "embedding_gradient",
  kernels: [
    ...oneKernel(kernel),
    ...oneKernel(embeddingReaders).map((choice) => ({ ...choice, takes: (c: OpCase) => c.name.includes("input") })),
  ],
  tolerance: { f32: 1e-6, f16: 1e-3 },
  cases: [
    one("tiny", { vocab: 1, c: 4, tokens: 1 }),
    one("tiny", { vocab: 1, c: 4, tokens: 1, given: true }),
    one("odd", { vocab: 45, c: 20, tokens: 129 }),
    one("odd", { vocab: 45, c: 20, tokens: 129, given: true }),
    one("odd", { vocab: 131, c: 260, tokens: 67, row: (r) => 40 + r, given: true }, ", one each"),
    one("odd", { vocab: 9, c: 4, tokens: 40, row: (r) => r }, ", past the table"),
    one("odd", { vocab: 9, c: 4, tokens: 40, row: (r) => r, given: true }, ", past the table"),
    one("odd", { vocab: 300, c: 36, tokens: 250 }, ", in windows", { maxBindingBytes: 16384, maxGrid: 9 }),
    one("odd", { vocab: 300, c: 36, tokens: 250, given: true }, ", in windows", { maxBindingBytes: 16384, maxGrid: 9 }),
    one("model", { vocab: 1000, c: 1920, tokens: 774, row: (r) => 226 + r }),
    one("model", { vocab: 1000, c: 3072, tokens: 774, row: (r) => 226 + r, given: true }),
  ],
};
