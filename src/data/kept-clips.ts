/** Clips that were read, by their row, up to so many values: those that were not used for the longest time make room for new ones. */
import type { PixelSample } from "../training/vae/sample.ts";

const valuesOf = ({ pixels, moments }: PixelSample): number => pixels.length + (moments?.length ?? 0);

export class KeptClips<Row> {
  readonly #clips = new Map<Row, PixelSample>();
  #values = 0;

  /** @param most values, pixels and moments together; the clip that was used last is kept whatever it has */
  constructor(private readonly most: number) {}

  /** The clip, which is now the one that was used last. */
  use(row: Row): PixelSample | undefined {
    const found = this.#clips.get(row);
    if (found) this.keep(row, found);
    return found;
  }

  has = (row: Row): boolean => this.#clips.has(row);

  keep(row: Row, clip: PixelSample): void {
    const before = this.#clips.get(row);
    this.#values += valuesOf(clip) - (before ? valuesOf(before) : 0);
    this.#clips.delete(row);
    this.#clips.set(row, clip);
    for (const [oldest, of] of this.#clips) {
      if (this.#values <= this.most || oldest === row) break;
      this.#clips.delete(oldest);
      this.#values -= valuesOf(of);
    }
  }
}
