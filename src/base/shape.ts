/** Shapes of tensors. */

/** Elements of a shape; 1 for a scalar's empty one. */
export const elements = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
