/** torch.linspace, to the bit: schedules of betas and rotary positions are made with it. */

/**
 * From both ends towards the middle, each value by one fused multiply-add.
 * @param r rounds to the tensor's type: `Math.fround`, or nothing for float64
 */
export function torchLinspace(start: number, end: number, n: number, r: (v: number) => number): Float64Array {
  const [a, b] = [r(start), r(end)];
  if (n === 1) return Float64Array.of(a);
  const step = r(r(b - a) / (n - 1));
  return Float64Array.from({ length: n }, (_, i) => (i < Math.floor(n / 2) ? r(a + step * i) : r(b - step * (n - i - 1))));
}
