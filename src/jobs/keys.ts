/** What keys and names of blobs may be: they become names of files, and subjects of a server. */
import { CogwheelError } from "../base/errors.ts";

/** Bytes of a value at most: what a NATS server takes in one message. */
export const VALUE_BYTES = 1_000_000;

const KEY = /^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/;

export function checkKey(key: string, what: "a key" | "the name of a blob"): void {
  if (KEY.test(key) && key.length <= 200) return;
  throw new CogwheelError(
    "jobs",
    `${what} must be words of letters, digits, - and _ with dots between them, 200 characters at most, got ${JSON.stringify(key)}; ` +
      "use a digest of it",
  );
}

export function checkValue(key: string, value: Uint8Array): void {
  if (value.length <= VALUE_BYTES) return;
  throw new CogwheelError("jobs", `a value must have ${VALUE_BYTES} bytes at most, got ${value.length} for ${key}; keep it as a blob`);
}
