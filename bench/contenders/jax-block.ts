/** CogVideoXBlock in jax-js, and a LoRA step's gradients through it. */
import type { BenchCase } from "../cases/case.ts";
import { ADAPTED, type BlockStepSizes } from "../cases/modules.ts";
import type { Array_, Jax } from "./jax-types.ts";

type Named = Readonly<Record<string, Array_>>;
const PREFIX = "transformer_blocks.0";

/**
 * Text and video in one attention, their own shift, scale and gate from the timestep; [text + video, D].
 *
 * @param w weights as torch has them, matrices turned to [in, out]; with `lora.‹layer›.A` and `.B` an adapter's part is added
 */
export function jaxBlock({ numpy, nn }: Jax, { heads, headWidth, text, video, trained }: BlockStepSizes, w: Named): Array_ {
  const count = text + video;
  const width = heads * headWidth;
  const linear = (x: Array_, name: string): Array_ => {
    const layer = name.replace(`${PREFIX}.attn1.`, "");
    const adapted = trained === "lora" && (ADAPTED as readonly string[]).includes(layer);
    const own = numpy.matmul(adapted ? x.ref : x, w[`${name}.weight`]!.ref).add(w[`${name}.bias`]!.ref);
    return adapted ? own.add(numpy.matmul(numpy.matmul(x, w[`lora.${layer}.A`]!.ref), w[`lora.${layer}.B`]!.ref)) : own;
  };
  const norm = (x: Array_, name: string, epsilon: number): Array_ =>
    nn.standardize(x, -1, { epsilon }).mul(w[`${name}.weight`]!.ref).add(w[`${name}.bias`]!.ref);
  /** The modulated norm of the joined sequence, and its gates. */
  const expert = (x: Array_, name: string): [Array_, Array_] => {
    const [shift, scale, gate, textShift, textScale, textGate] = numpy.split(linear(w["conditioning"]!.ref, `${name}.linear`), 6, 1) as [
      ...Array_[],
    ] as [Array_, Array_, Array_, Array_, Array_, Array_];
    const normed = norm(x, `${name}.norm`, 1e-5);
    const both = [
      normed.ref.slice([0, text], []).mul(textScale.add(1)).add(textShift),
      normed.slice([text, count], []).mul(scale.add(1)).add(shift),
    ];
    const rows = (row: Array_, n: number): Array_ => numpy.broadcastTo(row, [n, width]);
    return [numpy.concatenate(both, 0), numpy.concatenate([rows(textGate, text), rows(gate, video)], 0)];
  };
  const split = (x: Array_): Array_ => x.reshape([count, heads, headWidth]).transpose([1, 0, 2]);
  const hidden = numpy.concatenate([w["text"]!.ref, w["video"]!.ref], 0);
  const [x, gate] = expert(hidden.ref, `${PREFIX}.norm1`);
  const q = norm(split(linear(x.ref, `${PREFIX}.attn1.to_q`)), `${PREFIX}.attn1.norm_q`, 1e-6);
  const k = norm(split(linear(x.ref, `${PREFIX}.attn1.to_k`)), `${PREFIX}.attn1.norm_k`, 1e-6);
  const v = split(linear(x, `${PREFIX}.attn1.to_v`));
  const mixed = numpy.matmul(nn.softmax(numpy.matmul(q, k.transpose([0, 2, 1])).mul(headWidth ** -0.5)), v);
  const attended = hidden.add(gate.mul(linear(mixed.transpose([1, 0, 2]).reshape([count, width]), `${PREFIX}.attn1.to_out.0`)));
  const [y, gate2] = expert(attended.ref, `${PREFIX}.norm2`);
  const inner = nn.gelu(linear(y, `${PREFIX}.ff.net.0.proj`));
  return attended.add(gate2.mul(linear(inner, `${PREFIX}.ff.net.2`)));
}

/** Which tensors are differentiated with respect to: the block's input first, then the adapter's factors, or all weights. */
export const stepArguments = ({ weights, sizes }: BenchCase<"block_step", BlockStepSizes>): string[] => [
  "text",
  "video",
  ...Object.keys(weights).filter((name) => sizes.trained === "full" || name.startsWith("lora.")),
];
