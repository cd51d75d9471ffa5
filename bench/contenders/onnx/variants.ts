/** By kind of case, the ways of saying it in ONNX. */
import type { BenchCase } from "../../cases/case.ts";
import { adaLnVariants, attentionVariants, convVariants, groupNormVariants, matmulVariants, type OnnxVariant } from "./graphs.ts";
import { blockVariants, decoderVariants, t5Variants } from "./modules.ts";

export const onnxVariants: Readonly<Record<string, (c: BenchCase<any, any>) => Record<string, () => OnnxVariant>>> = {
  matmul: matmulVariants,
  attention: attentionVariants,
  conv3d: convVariants,
  adaln: adaLnVariants,
  group_norm: groupNormVariants,
  block: blockVariants,
  t5_block: t5Variants,
  vae_decoder: decoderVariants,
};
