/** Middle and spread of a few measurements. */

export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = q * (sorted.length - 1);
  const low = Math.floor(at);
  return sorted[low]! + (at - low) * ((sorted[low + 1] ?? sorted[low]!) - sorted[low]!);
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

export interface Summary {
  readonly median: number;
  /** Half of what lies between the quartiles, as a share of the median. */
  readonly spread: number;
  readonly count: number;
}

export function summarise(values: readonly number[]): Summary {
  const middle = median(values);
  return { median: middle, spread: (quantile(values, 0.75) - quantile(values, 0.25)) / 2 / middle, count: values.length };
}
