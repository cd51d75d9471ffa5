/** The activations in float64, as references apply them. */

/** The tanh approximation, as published models have it. */
export const gelu = (v: number): number => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)));
export const silu = (v: number): number => v / (1 + Math.exp(-v));
