/** Element types of tensors and what they take. */
import type { ScalarType } from "../gpu/kernel.ts";

export type DType = ScalarType;
export const bytesOf: Readonly<Record<DType, number>> = { f32: 4, u32: 4, i32: 4, f16: 2 };
/** Elements of a shape; 1 for a scalar's empty one. */
export const elements = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
/** Of numbers that kernels compute with; the others count and name rows. */
export const isFloat = ({ dtype }: { readonly dtype: DType }): boolean => dtype === "f32" || dtype === "f16";
