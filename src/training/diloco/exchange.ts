/**
 * What a replica gives of a parameter after its round. In 8 bits it is the way from where it began, θ_outer − θ_inner, by blocks of 256
 * values with a scale of their own: a quarter of f32 and a little. What rounding leaves out is not kept for the next round: that would be
 * as large as the parameters and travel with the replica, and every round begins at the exact outer weights, so what is missing of one
 * way is still ahead in the next.
 */
import { CogwheelError } from "../../base/errors.ts";

export const EXCHANGES = ["int8", "f32"] as const;
export type ExchangeKind = (typeof EXCHANGES)[number];

/** Values that share a scale. */
export const EXCHANGE_BLOCK = 256;
const MOST = 127;

/** In f32 the inner values themselves: the way to them would be rounded once more. */
export type Exchanged = { readonly values: Float32Array } | { readonly steps: Int8Array; readonly scales: Float32Array };

/** Bytes of so many values. */
export const exchangeBytes = (exchange: ExchangeKind, values: number): number =>
  exchange === "f32" ? 4 * values : values + 4 * Math.ceil(values / EXCHANGE_BLOCK);

/** @param outer where the round began @param inner where it ended; both f32 @param name of the parameter, for errors */
export function exchanged(exchange: ExchangeKind, outer: Float32Array, inner: Float32Array, name: string): Exchanged {
  const wrong = inner.find((value) => !Number.isFinite(value));
  if (wrong !== undefined)
    throw new CogwheelError(
      "training",
      `a replica must come to finite values, got ${wrong} in ${name}; begin anew with a lower learning rate`,
      { code: "failed" },
    );
  if (exchange === "f32") return { values: inner };
  const scales = new Float32Array(Math.ceil(inner.length / EXCHANGE_BLOCK));
  const steps = new Int8Array(inner.length);
  for (let block = 0; block < scales.length; block++) {
    const [start, end] = [block * EXCHANGE_BLOCK, Math.min(inner.length, (block + 1) * EXCHANGE_BLOCK)];
    let most = 0;
    for (let i = start; i < end; i++) most = Math.max(most, Math.abs(outer[i]! - inner[i]!));
    scales[block] = most / MOST;
    const scale = scales[block]!;
    // So little that f32 has no scale for it.
    if (scale === 0) continue;
    for (let i = start; i < end; i++) steps[i] = Math.max(-MOST, Math.min(MOST, halfToEven((outer[i]! - inner[i]!) / scale)));
  }
  return { steps, scales };
}

function halfToEven(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1;
}

/** Does it hold so many values? */
export const isExchangeOf = (given: Exchanged, size: number): boolean =>
  "values" in given
    ? given.values.length === size
    : given.steps.length === size && given.scales.length === Math.ceil(size / EXCHANGE_BLOCK);

/** The value that a replica came to, as far as it was told. */
export const innerValue = (given: Exchanged, outer: Float32Array, i: number): number =>
  "values" in given ? given.values[i]! : outer[i]! - given.steps[i]! * given.scales[Math.floor(i / EXCHANGE_BLOCK)]!;
