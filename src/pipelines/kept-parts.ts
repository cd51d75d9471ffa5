/** Parts of a model on the adapter: kept from one generation to the next, or gone with the generation that used them. */
import type { LoadedLora } from "./lora-input.ts";

/** A part, until its user disposes of the hold. */
export type Held<T> = { readonly part: T } & Disposable;

export class KeptParts {
  /** Each for the shape it was made for. */
  readonly #parts = new Map<string, { key: string; part: Disposable }>();
  /** Adapters that were read from a name. */
  readonly #adapters = new Map<string, LoadedLora>();
  /** Calls that use them or wait to. */
  #users = 0;
  /** Parts that stay for now, by name, where nothing is kept for good. */
  #awhile: readonly string[] = [];
  /** `release` was called meanwhile. */
  #releasing = false;

  /** @param keep are they kept? */
  constructor(readonly keep: boolean) {}

  /** For a call that uses them or will, until what this returns is disposed of. */
  use(): Disposable {
    this.#users++;
    return {
      [Symbol.dispose]: () => {
        if (--this.#users === 0) this.#freeIfAsked();
      },
    };
  }

  /** For a call's turn: when it is over nobody uses them, though others may wait. */
  turn(): Disposable {
    return { [Symbol.dispose]: () => this.#freeIfAsked() };
  }

  /** These stay too from one generation to the next, until what this returns is disposed of, or `freeAwhile` is called: then they go. */
  keepAwhile(names: readonly string[]): Disposable {
    this.#awhile = names;
    return { [Symbol.dispose]: () => void this.freeAwhile() };
  }

  /** Frees what stays for now; was there any? */
  freeAwhile(): boolean {
    const any = !this.keep && this.#parts.size > 0;
    this.#awhile = [];
    if (!this.keep) this.free();
    return any;
  }

  has(name: string): boolean {
    return this.#parts.has(name);
  }

  /** A part for a shape: the one that was kept, or a new one in its place. */
  async hold<T extends Disposable>(name: string, key: string, make: () => Promise<T>): Promise<Held<T>> {
    if (!this.keep && !this.#awhile.includes(name)) {
      const part = await make();
      return { part, [Symbol.dispose]: () => part[Symbol.dispose]() };
    }
    const found = this.#parts.get(name);
    if (found?.key === key) return { part: found.part as T, [Symbol.dispose]: () => undefined };
    this.#parts.delete(name);
    found?.part[Symbol.dispose]();
    const part = await make();
    this.#parts.set(name, { key, part });
    return { part, [Symbol.dispose]: () => undefined };
  }

  /** The adapter of a name, read once. */
  async adapter(name: string, read: () => Promise<LoadedLora>): Promise<LoadedLora> {
    const adapter = this.#adapters.get(name) ?? (await read());
    if (this.keep) this.#adapters.set(name, adapter);
    return adapter;
  }

  /** Frees everything, at once or when the turn is over of the call that uses them or is the next to. */
  release(): void {
    this.#releasing = true;
    if (this.#users === 0) this.#freeIfAsked();
  }

  #freeIfAsked(): void {
    if (!this.#releasing) return;
    this.#releasing = false;
    this.free();
  }

  /** Frees everything at once, as after the loss of its device; what `release` asked for is still done when the turn is over. */
  free(): void {
    for (const { part } of this.#parts.values()) part[Symbol.dispose]();
    this.#parts.clear();
    this.#adapters.clear();
  }
}
