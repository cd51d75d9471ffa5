/**
 * Which clips go into which pack. First-fit-decreasing over a window of the shuffled data: of the bins that it makes of the window's clips
 * the one with the oldest is given, and the window is filled up again. So no clip waits longer than the packs that were full without it,
 * and there are always enough small clips to fill the gaps that large ones leave.
 *
 * A packer is deterministic: the same clips in the same order are the same packs. `save` and the window given back go on from there.
 */
import { CogwheelError } from "../../base/errors.ts";

/** How much a clip takes. */
export interface Sized {
  /** Of the token budget. */
  readonly tokens: number;
}

export interface PackerOptions {
  /** Tokens of a pack. */
  readonly budget: number;
  /** Clips of a pack. Default: any number. */
  readonly clips?: number;
  /** Clips that are looked at together. Default 256. */
  readonly window?: number;
}

export class Packer<T extends Sized> {
  readonly budget: number;
  readonly #clips: number;
  readonly #window: number;
  readonly #waiting: T[];
  #tokens = 0;
  #packs = 0;

  /** @param waiting what a packer that was saved had waiting, in its order */
  constructor({ budget, clips = Infinity, window = 256 }: PackerOptions, waiting: readonly T[] = []) {
    if (!(budget >= 1) || !(clips >= 1) || !(window >= 1))
      throw new CogwheelError(
        "training",
        `a packer's budget, clips and window must be at least 1, got ${budget}, ${clips} and ${window}; raise them`,
      );
    this.budget = budget;
    this.#clips = clips;
    this.#window = window;
    this.#waiting = [...waiting];
  }

  /** Clips that were taken and not given yet, oldest first: what to save. */
  get waiting(): readonly T[] {
    return this.#waiting;
  }

  /** The share of the budget that packs so far have filled; 1 before the first. */
  get fill(): number {
    return this.#packs === 0 ? 1 : this.#tokens / (this.#packs * this.budget);
  }

  /** Has it room for more before the next pack? */
  get wants(): boolean {
    return this.#waiting.length < this.#window;
  }

  /** Takes a clip; throws for one that no pack can hold. */
  add(clip: T): void {
    if (!(clip.tokens <= this.budget))
      throw new CogwheelError(
        "training",
        `a clip must fit the token budget of ${this.budget}, got one of ${clip.tokens}; ` +
          "raise the budget, or train on fewer frames or a smaller side",
      );
    this.#waiting.push(clip);
  }

  /** The next pack, its clips oldest first; undefined when nothing waits. Fill it up ({@link wants}) before. */
  next(): T[] | undefined {
    if (this.#waiting.length === 0) return undefined;
    const pack = binOfOldest(this.#waiting, this.budget, this.#clips);
    const places = new Set(pack);
    const clips = this.#waiting.filter((_, i) => places.has(i));
    const rest = this.#waiting.filter((_, i) => !places.has(i));
    this.#waiting.splice(0, Infinity, ...rest);
    this.#packs++;
    this.#tokens += clips.reduce((n, { tokens }) => n + tokens, 0);
    return clips;
  }
}

/** The bin with clip 0 that first-fit-decreasing makes, by places; equal clips in the order in which they came. */
function binOfOldest(clips: readonly Sized[], budget: number, most: number): number[] {
  const order = clips.map((_, i) => i).sort((a, b) => clips[b]!.tokens - clips[a]!.tokens || a - b);
  const bins: { used: number; places: number[] }[] = [];
  for (const i of order) {
    const { tokens } = clips[i]!;
    let bin = bins.find(({ used, places }) => used + tokens <= budget && places.length < most);
    if (!bin) bins.push((bin = { used: 0, places: [] }));
    bin.used += tokens;
    bin.places.push(i);
  }
  return bins.find(({ places }) => places.includes(0))!.places;
}
