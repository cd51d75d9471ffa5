/** Element types of tensors and what they take. */
import type { ScalarType } from "../gpu/kernel.ts";

export { elements } from "../base/shape.ts";

/** The type of a tensor's elements. */
export type DType = ScalarType;
export const bytesOf: Readonly<Record<DType, number>> = { f32: 4, u32: 4, i32: 4, f16: 2 };
/** Of numbers that kernels compute with; the others count and name rows. */
export const isFloat = ({ dtype }: { readonly dtype: DType }): boolean => dtype === "f32" || dtype === "f16";
