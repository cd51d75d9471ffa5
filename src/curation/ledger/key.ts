/** Keys: what a result follows from, as 32 hex digits. The same stage, parameters and parents have the same key on any machine. */
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import { isObject } from "../../base/json-scan.ts";

/**
 * The key of a stage's result, 32 hex digits: results of one key are the same.
 * @param params all that decides the result, as JSON @param parents keys of the results that it is made from, in their order
 */
export function resultKey(stage: string, version: number, params: unknown, parents: readonly string[]): string {
  return digest([stage, version, params, parents]).slice(0, 32);
}

/** 16 hex digits of a clip; its times count to the microsecond. */
export function clipId(source: string, start: number, end: number): string {
  return digest([source, Math.round(1e6 * start), Math.round(1e6 * end)]).slice(0, 16);
}

/** SHA-256 of a value as JSON, in which the order of an object's names does not count. */
export const digest = (value: unknown): string => bytesToHex(sha256(utf8ToBytes(JSON.stringify(ordered(value)))));

function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered);
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.keys(value)
      .filter((name) => value[name] !== undefined)
      .sort()
      .map((name) => [name, ordered(value[name])]),
  );
}
