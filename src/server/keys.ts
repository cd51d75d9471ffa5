/**
 * The keys that clients show, kept with the jobs. Of a key there is only a digest: whoever reads it can do nothing with it. The digest is
 * also the owner of the key's jobs. Secrets of webhooks stand there as they are, because bodies are signed with them.
 */
import { CogwheelError } from "../base/errors.ts";
import { sha256 } from "../base/sha256.ts";
import type { JobBackend } from "../jobs/backend.ts";

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

const NAME = /^[\w.@-]{1,64}$/;
const PREFIX = "key.";
/** A key that was taken back is known for so long. */
const KNOWN_MS = 1000;
/** Where the secret of those is who come without a key. */
const NOBODY = "key-of-nobody";

const random = (): Uint8Array => crypto.getRandomValues(new Uint8Array(32));
const base64 = (bytes: Uint8Array): string => btoa(String.fromCharCode(...bytes));
const encode = (key: Key): Uint8Array => new TextEncoder().encode(JSON.stringify(key));
const decode = (bytes: Uint8Array): Key => JSON.parse(new TextDecoder().decode(bytes)) as Key;

/** 256 random bits, so a plain digest keeps them: there is nothing to guess. */
const newKey = (): string => `cw_${base64(random()).replace(/[+/=]/g, (c) => ({ "+": "-", "/": "_" })[c] ?? "")}`;

export class Keys {
  readonly #known = new Map<string, { readonly key: Key; readonly at: number }>();

  constructor(private readonly values: JobBackend["values"]) {}

  async find(key: string): Promise<Key | undefined> {
    const digest = await sha256(new TextEncoder().encode(key));
    const known = this.#known.get(digest);
    if (known && Date.now() - known.at < KNOWN_MS) return known.key;
    this.#known.delete(digest);
    const found = await this.values.get(PREFIX + digest);
    if (!found) return undefined;
    const read = decode(found.value);
    this.#known.set(digest, { key: read, at: Date.now() });
    return read;
  }

  /** The key that a job's owner has. */
  async ofOwner(digest: string): Promise<Key | undefined> {
    if (digest === "") return await this.nobody();
    const found = await this.values.get(PREFIX + digest);
    return found && decode(found.value);
  }

  /** For those who come without a key, where that is allowed. */
  async nobody(): Promise<Key> {
    for (;;) {
      const found = await this.values.get(NOBODY);
      if (found) return decode(found.value);
      await this.values.put(NOBODY, encode(made("nobody", "", {})), 0);
    }
  }

  async list(): Promise<readonly Key[]> {
    const found = await Promise.all((await this.values.keys(PREFIX)).map((name) => this.values.get(name)));
    return found.flatMap((one) => (one ? [decode(one.value)] : [])).sort((a, b) => a.createdAt - b.createdAt);
  }

  /** @returns the key, which is nowhere else, and what is kept of it */
  async add(name: string, limits: KeyLimits = {}): Promise<{ readonly key: string; readonly kept: Key }> {
    if (!NAME.test(name))
      throw new CogwheelError("serve", `a key's name must be 1 to 64 letters, digits, dots, dashes and @, got ${JSON.stringify(name)}`);
    if ((await this.list()).some((one) => one.name === name))
      throw new CogwheelError("serve", `a key's name must be new, got ${name}; remove that one first, or choose another name`);
    for (const [what, limit] of Object.entries(limits))
      if (!Number.isSafeInteger(limit) || limit < 1)
        throw new CogwheelError("serve", `a limit must be a whole number from 1 up, got ${String(limit)} ${what}; leave it out for none`);
    const key = newKey();
    const kept = made(name, await sha256(new TextEncoder().encode(key)), limits);
    await this.values.put(PREFIX + kept.digest, encode(kept), 0);
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
