/**
 * The keys that clients show, kept with the jobs. Of a key there is only a digest: whoever reads it can do nothing with it. The digest is
 * also the owner of the key's jobs. Secrets of webhooks stand there as they are, because bodies are signed with them.
 */
import { base64 } from "../base/base64.ts";
import { CogwheelError } from "../base/errors.ts";
import { sha256 } from "../base/sha256.ts";
import type { KeyValues } from "../jobs/backend.ts";
import { readRecord, writeRecord } from "../jobs/records.ts";

/** What a key may have at a time; what is left out has no limit. */
export interface KeyLimits {
  /** Requests that are being answered. */
  readonly requests?: number;
  /** Jobs that wait or are worked on. */
  readonly jobs?: number;
  /** Pixels of all frames of these jobs together. */
  readonly pixels?: number;
}

export interface Key {
  readonly name: string;
  /** SHA-256 of the key; the empty string for those who come without one, where that is allowed. */
  readonly digest: string;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  readonly limits: KeyLimits;
  /** `whsec_…`, by Standard Webhooks. */
  readonly webhookSecret: string;
}

/** What is drawn elsewhere is long enough that there is nothing to guess. */
const GIVEN = /^[\x21-\x7e]{32,200}$/;
const NAME = /^[\w.@-]{1,64}$/;
const PREFIX = "key.";
/** A key that was taken back is known for so long. */
const KNOWN_MS = 1000;
/** Where the secret of those is who come without a key. */
const NOBODY = "key-of-nobody";

const random = (): Uint8Array => crypto.getRandomValues(new Uint8Array(32));

const digestOf = (key: string): Promise<string> => sha256(new TextEncoder().encode(key));
/** 256 random bits, so a plain digest keeps them: there is nothing to guess. */
const newKey = (): string => `cw_${base64(random()).replace(/[+/=]/g, (c) => ({ "+": "-", "/": "_" })[c] ?? "")}`;

export class Keys {
  readonly #known = new Map<string, { readonly key: Key; readonly at: number }>();

  constructor(private readonly values: KeyValues) {}

  async #read(at: string): Promise<Key | undefined> {
    return (await readRecord<Key>(this.values, at))?.record;
  }

  async find(key: string): Promise<Key | undefined> {
    const digest = await digestOf(key);
    const known = this.#known.get(digest);
    if (known && Date.now() - known.at < KNOWN_MS) return known.key;
    this.#known.delete(digest);
    const found = await this.#read(PREFIX + digest);
    if (found) this.#known.set(digest, { key: found, at: Date.now() });
    return found;
  }

  /** The key that a job's owner has. */
  async ofOwner(digest: string): Promise<Key | undefined> {
    if (digest === "") return await this.nobody();
    return await this.#read(PREFIX + digest);
  }

  /** For those who come without a key, where that is allowed. */
  async nobody(): Promise<Key> {
    for (;;) {
      const found = await this.#read(NOBODY);
      if (found) return found;
      await writeRecord(this.values, NOBODY, made("nobody", "", {}), 0);
    }
  }

  async list(): Promise<readonly Key[]> {
    const found = await Promise.all((await this.values.keys(PREFIX)).map((name) => this.#read(name)));
    return found.flatMap((one) => one ?? []).sort((a, b) => a.createdAt - b.createdAt);
  }

  /**
   * @param given a key that the caller drew; where it is known under this name already, that is left as it is
   * @returns the key, which is nowhere else, and what is kept of it
   */
  async add(name: string, limits: KeyLimits = {}, given?: string): Promise<{ readonly key: string; readonly kept: Key }> {
    if (!NAME.test(name))
      throw new CogwheelError("serve", `a key's name must be 1 to 64 letters, digits, dots, dashes and @, got ${JSON.stringify(name)}`);
    if (given !== undefined && !GIVEN.test(given))
      throw new CogwheelError(
        "serve",
        `a key must be 32 to 200 visible characters, got ${given.length}; draw one, such as by openssl rand -hex 32`,
      );
    const key = given ?? newKey();
    const digest = await digestOf(key);
    const known = (await this.list()).find((one) => one.name === name || one.digest === digest);
    if (known && known.name === name && known.digest === digest) return { key, kept: known };
    if (known)
      throw new CogwheelError(
        "serve",
        known.name === name
          ? `a key's name must be new, got ${name}; remove that one first, or choose another name`
          : `a key must be new, got the one of ${known.name}; draw another`,
      );
    for (const [what, limit] of Object.entries(limits))
      if (!Number.isSafeInteger(limit) || limit < 1)
        throw new CogwheelError("serve", `a limit must be a whole number from 1 up, got ${String(limit)} ${what}; leave it out for none`);
    const kept = made(name, digest, limits);
    await writeRecord(this.values, PREFIX + digest, kept, 0);
    return { key, kept };
  }

  /** The key's jobs stay; nobody can ask for them any more. */
  async remove(name: string): Promise<void> {
    const keys = await this.list();
    const key = keys.find((one) => one.name === name);
    if (!key)
      throw new CogwheelError(
        "serve",
        `a key must be among ${keys.map((one) => one.name).join(", ") || "none"}, got ${JSON.stringify(name)}`,
      );
    const found = await this.values.get(PREFIX + key.digest);
    if (found) await this.values.delete(PREFIX + key.digest, found.revision);
  }
}

const made = (name: string, digest: string, limits: KeyLimits): Key => ({
  name,
  digest,
  createdAt: Date.now(),
  limits,
  webhookSecret: `whsec_${base64(random())}`,
});
