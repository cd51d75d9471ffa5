/**
 * `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): the same key with the same body is the same job, as often as it is sent.
 * Keys belong to their owner, and are forgotten after a day.
 */
import { sha256 } from "../base/sha256.ts";
import type { KeyValues } from "../jobs/backend.ts";
import { jobKey } from "../jobs/job.ts";
import { readRecord, writeRecord, type Stored } from "../jobs/records.ts";
import { ApiError, invalid } from "./errors.ts";

const PREFIX = "idempotency.";
const FORGET_MS = 24 * 3600e3;
/** Whoever has not made its job after so long was killed. */
const IN_FLIGHT_MS = 120_000;

interface Claim {
  readonly fingerprint: string;
  readonly job: string;
  readonly at: number;
}

const read = (values: KeyValues, name: string): Promise<Stored<Claim> | undefined> => readRecord<Claim>(values, name);
const digest = (text: string): Promise<string> => sha256(new TextEncoder().encode(text));

/** Of what a request asks: its fields in any order, files by their bytes. A form's boundary is another one each time. */
export async function fingerprintOf(route: string, fields: Readonly<Record<string, unknown>>): Promise<string> {
  const known: [string, unknown][] = [];
  for (const name of Object.keys(fields).sort()) {
    const value = fields[name];
    known.push([name, value instanceof Uint8Array ? await sha256(new Uint8Array(value)) : value]);
  }
  return await digest(JSON.stringify([route, known]));
}

/** What a key stands for: the job that it made before, or this one, which is to be made now. */
export type Claimed = { readonly before: string } | { readonly release: () => Promise<void> };

/** @param job the id that a new job would have */
export async function claim(values: KeyValues, owner: string, key: string, fingerprint: string, job: string): Promise<Claimed> {
  if (!/^[\x20-\x7e]{1,255}$/.test(key))
    throw invalid(`Idempotency-Key must be 1 to 255 visible characters, got ${key.length}; send a UUID`, "Idempotency-Key");
  const name = PREFIX + (await digest(JSON.stringify([owner, key])));
  for (;;) {
    const now: Claim = { fingerprint, job, at: Date.now() };
    const before = await read(values, name);
    if (before) {
      const found = before.record;
      const made = (await values.get(jobKey(found.job))) !== undefined;
      const age = Date.now() - found.at;
      if (age < FORGET_MS && (made || age < IN_FLIGHT_MS)) {
        if (found.fingerprint !== fingerprint)
          throw new ApiError(
            422,
            "idempotency_key_reused",
            "an Idempotency-Key must come with the body that it came with first, got another; send another key",
            {
              param: "Idempotency-Key",
            },
          );
        if (made) return { before: found.job };
        throw new ApiError(409, "idempotency_key_in_flight", "a request with this Idempotency-Key is being answered; wait for it", {
          retryAfter: 1,
        });
      }
    }
    const revision = await writeRecord(values, name, now, before?.revision ?? 0);
    if (revision !== undefined) return { release: async () => void (await values.delete(name, revision)) };
  }
}

/** Forgets keys that are older than a day. */
export async function forgetKeys(values: KeyValues): Promise<void> {
  for (const name of await values.keys(PREFIX)) {
    const found = await read(values, name);
    if (found && Date.now() - found.record.at > FORGET_MS) await values.delete(name, found.revision);
  }
}
