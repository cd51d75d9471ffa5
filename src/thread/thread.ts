/** A model's thread as the app's side has it; how one is started differs (`#thread`). */
import type { Port } from "./protocol.ts";

export interface Thread {
  readonly port: Port;
  /** Does it keep Node's event loop, and so this process, going? */
  hold(held: boolean): void;
  /** Hears how it ended, where nobody asked it to. */
  onDeath(heard: (got: string) => void): void;
  /** Ends it when nothing is under way there. */
  end(): Promise<void>;
}

/** How long a script may take to say that it is there: it loads nothing before it does. */
export const START_SECONDS = 30;
