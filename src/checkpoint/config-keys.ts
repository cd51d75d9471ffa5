/**
 * How a component's config is judged. A component states a rule for every key that its reference implementation has; what the rules
 * refuse is collected and told at once, and keys that no rule knows are named, for a newer key may change the result.
 */
import { brief } from "../base/brief.ts";
import { CogwheelError } from "../base/errors.ts";

/** What a predicate says of a config: whether it is legal, and what it means. */
export interface Judged<Config> {
  /** With the defaults filled in; meaningful only when there are no problems. */
  readonly config: Config;
  /** Why the engine cannot run it, key by key; empty for a legal config. */
  readonly problems: readonly string[];
  /** Keys that neither the reference's configs nor the engine know. They are read over, so a user should be told. */
  readonly unknown: readonly string[];
}

/** Reads a config key by key. A key that is absent has its default; null is a value, legal only where a rule says so. */
export class ConfigKeys {
  readonly problems: string[] = [];
  readonly #known = new Set<string>();
  readonly #json: Readonly<Record<string, unknown>>;

  constructor(json: Readonly<Record<string, unknown>>) {
    this.#json = json;
  }

  /** The value under `name`, `preset` where it is absent or refused. A `preset` of undefined makes the key a must. */
  read<T>(name: string, preset: T | undefined, ok: (value: unknown) => boolean, rule: string): T {
    this.#known.add(name);
    const value = Object.hasOwn(this.#json, name) && this.#json[name] !== undefined ? this.#json[name] : preset;
    if (!ok(value)) this.refuse(name, rule);
    return (ok(value) ? value : preset) as T;
  }

  /** A whole number from `least` to `most`. */
  count(name: string, preset: number | undefined, { least = 1, most = 65536 }: { least?: number; most?: number } = {}): number {
    return (
      this.read(
        name,
        preset,
        (v) => Number.isInteger(v) && (v as number) >= least && (v as number) <= most,
        `a whole number from ${least} to ${most}`,
      ) ?? least
    );
  }

  /** A finite number that `ok` takes. */
  number(name: string, preset: number, ok: (value: number) => boolean, rule: string): number {
    return this.read(name, preset, (v) => typeof v === "number" && Number.isFinite(v) && ok(v), rule);
  }

  flag(name: string, preset: boolean): boolean {
    return this.read(name, preset, (v) => typeof v === "boolean", "true or false");
  }

  oneOf<T extends string>(name: string, preset: T, choices: readonly T[]): T {
    return this.read(name, preset, (v) => choices.includes(v as T), `one of ${choices.join(", ")}`);
  }

  /** A key that would change the result, of which the engine has these values only; the first is the default. */
  only(name: string, allowed: readonly unknown[], why = ""): void {
    const texts = allowed.map((v) => JSON.stringify(v));
    this.read(name, allowed[0], (v) => texts.includes(JSON.stringify(v)), `${texts.join(" or ")}${why && ` (${why})`}`);
  }

  /** Keys that do not change what the engine computes. */
  ignore(...names: readonly string[]): void {
    for (const name of names) this.#known.add(name);
  }

  /** Adds a problem with a key, whatever it holds. */
  refuse(name: string, rule: string, got: unknown = this.#json[name]): void {
    this.problems.push(`${name} must be ${rule}, got ${brief(got)}`);
  }

  /** Keys that were neither read nor ignored. Those that begin with `_` are notes of the library that wrote the file. */
  get unknown(): string[] {
    return Object.keys(this.#json).filter((name) => !name.startsWith("_") && !this.#known.has(name));
  }
}

/** The config, or an error that says all that is wrong. `where` is what messages call the file, `remedy` what to do. */
export function legal<Config>(room: string, where: string, { config, problems }: Judged<Config>, remedy: string): Config {
  if (problems.length) throw new CogwheelError(room, `${where}: ${problems.join("; ")}; ${remedy}`);
  return config;
}

/** The object that a config must be. */
export function configObject(room: string, where: string, json: unknown): Readonly<Record<string, unknown>> {
  if (typeof json === "object" && json !== null && !Array.isArray(json)) return json as Record<string, unknown>;
  throw new CogwheelError(room, `${where}: the config must be a JSON object, got ${brief(json)}; download the file again`);
}
