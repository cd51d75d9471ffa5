/** Records of JSON in the store's values, and the revision that each has. */
import { CogwheelError } from "../base/errors.ts";
import { parseJsonObject } from "../base/json-scan.ts";
import type { KeyValues, Sync } from "./backend.ts";

/** A record with its revision. */
export interface Stored<T> {
  readonly record: T;
  readonly revision: number;
}

/** Undefined where there is none. @param room of the error that is thrown for one that is damaged */
export async function readRecord<T extends object>(values: KeyValues, key: string, room = "jobs"): Promise<Stored<T> | undefined> {
  const entry = await values.get(key);
  if (!entry) return undefined;
  const fail = (rule: string): CogwheelError => new CogwheelError(room, `the stored ${key} ${rule}; delete it`);
  return { record: parseJsonObject(new TextDecoder().decode(entry.value), fail) as T, revision: entry.revision };
}

/** The new revision, or undefined where another was faster. @param expected the revision before; 0 for none @param sync as of `put` */
export const writeRecord = (values: KeyValues, key: string, record: object, expected: number, sync?: Sync): Promise<number | undefined> =>
  values.put(key, new TextEncoder().encode(JSON.stringify(record)), expected, sync);

/** Writes a record, whatever was there. */
export async function replaceRecord(values: KeyValues, key: string, record: object, sync?: Sync): Promise<void> {
  while ((await writeRecord(values, key, record, (await values.get(key))?.revision ?? 0, sync)) === undefined);
}
