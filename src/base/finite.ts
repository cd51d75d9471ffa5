/** Numbers that are none: a NaN or an infinity anywhere becomes a black film, so what comes in and what goes out is looked at. */
import { CogwheelError, type ErrorCode } from "./errors.ts";

/** Are all of them finite? A pass that costs a nanosecond a value. */
export function allFinite(values: Float32Array): boolean {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! * 0; // NaN from the first NaN or infinity on
  return sum === 0;
}

/**
 * Throws where one of them is not.
 * @param what names them: "the latents after step 3 of 50"
 * @param remedy what to do about it
 * @param code what it means: most are computed, and no caller's mistake
 */
export function expectFinite(values: Float32Array, room: string, what: string, remedy: string, code: ErrorCode = "failed"): void {
  if (allFinite(values)) return;
  const bad = values.reduce((n, v) => n + (Number.isFinite(v) ? 0 : 1), 0);
  throw new CogwheelError(
    room,
    `${what} must be finite, got NaN or infinity in ${bad} of ${values.length} values, ` +
      `first ${values.find((v) => !Number.isFinite(v))} at ${values.findIndex((v) => !Number.isFinite(v))}; ${remedy}`,
    { code },
  );
}

/** What to do where a model has made them. */
export const CHECK_FINITE =
  "run it with checkFinite (--check-finite), which names the first node that makes one, and look at weights, adapters and guidance";

/** The name of an array's type, also of one from another realm. */
export const arrayType = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);

/** Throws unless it is a Float32Array of finite numbers. */
export function expectFloats(value: unknown, room: string, what: string): asserts value is Float32Array {
  if (arrayType(value) !== "Float32Array")
    throw new CogwheelError(
      room,
      `${what} must be a Float32Array, got ${value === null || typeof value !== "object" ? String(value) : arrayType(value)}; ` +
        "convert it with Float32Array.from",
    );
  expectFinite(value as Float32Array, room, what, "make it again", "invalid-request");
}
