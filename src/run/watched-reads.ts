/** Weights as a provider has them, with an eye on every read: what is under way, since when, and how long it took. */
import type { StoredWeight } from "../graph/stored.ts";
import { providerOf, type WeightProvider } from "./weight-provider.ts";

/** A read that is over, on the clock of performance.now. */
export interface FinishedRead {
  readonly label: string;
  readonly begin: number;
  readonly end: number;
  readonly bytes: number;
}

export class WatchedReads {
  readonly #underWay = new Set<{ readonly label: string; readonly begin: number }>();
  /** Is told every read that is over. */
  onRead: ((read: FinishedRead) => void) | undefined;
  readonly provider: WeightProvider;

  constructor(provider: WeightProvider) {
    this.provider = { ...providerOf(provider), stored: (name) => this.#watched(provider.stored(name)) };
  }

  #watched(weight: StoredWeight): StoredWeight {
    return {
      ...weight,
      ...(weight.plain ? { plain: this.#watched(weight.plain) } : {}),
      read: async (start, into, signal) => {
        const read = { label: weight.label, begin: performance.now() };
        const bytes = into.length;
        this.#underWay.add(read);
        try {
          await weight.read(start, into, signal);
        } finally {
          this.#underWay.delete(read);
          this.onRead?.({ ...read, end: performance.now(), bytes });
        }
      },
    };
  }

  /** The read that is under way for the longest. */
  get oldest(): { readonly label: string; readonly begin: number } | undefined {
    const [first] = this.#underWay;
    return first;
  }
}
