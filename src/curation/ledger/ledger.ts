/**
 * The ledger: lines of JSON that are only ever added to, one for each result of a stage. A result is found by its key, so what was done is
 * not done again, whatever else changed; what is no longer asked for stays there for `why`. The last line may be torn where a process was
 * killed: it is dropped, and its work is done again.
 */
import { CogwheelError } from "../../base/errors.ts";
import { isObject } from "../../base/json-scan.ts";
import type { LedgerStage, StageResult } from "../types.ts";
import { resultKey } from "./key.ts";

/** Where lines are kept. */
export interface LedgerStore {
  /** All that is there; what ends without a line's end is torn, and is not given. Nothing there is an empty text. */
  read(): Promise<string>;
  /** Adds lines, and resolves when they will be there after the power went. */
  append(lines: string): Promise<void>;
}

/** Lines in memory alone: for pages, and tests. */
export function memoryLedgerStore(text = ""): LedgerStore & { text(): string } {
  let all = text;
  return {
    text: () => all,
    read: () => Promise.resolve(all.slice(0, all.lastIndexOf("\n") + 1)),
    append(lines) {
      all += lines;
      return Promise.resolve();
    },
  };
}

/** Results that wait for so long, or are so many, are written together. */
const BATCH_MS = 200;
const BATCH_LINES = 500;

/**
 * What was done, a line a result, only ever added to. A result is found by its key; `flush` resolves when all that was added is on the
 * disk. Lines that cannot be read are counted in `broken`, and their work is done again.
 */
export class Ledger {
  /** By key, the last of it. */
  readonly #byKey = new Map<string, StageResult>();
  /** By what they are of, in the order in which they came. */
  readonly #byWhat = new Map<string, StageResult[]>();
  #pending: string[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #writing: Promise<void> = Promise.resolve();
  #failure: unknown;
  /** Lines that were not to be read, and are lost. */
  readonly broken: number;

  private constructor(
    private readonly store: LedgerStore,
    text: string,
  ) {
    let broken = 0;
    for (const line of text.split("\n")) {
      if (line === "") continue;
      const result = resultOf(line);
      if (result) this.#index(result);
      else broken++;
    }
    this.broken = broken;
  }

  static async open(store: LedgerStore): Promise<Ledger> {
    return new Ledger(store, await store.read());
  }

  /** The result of this key, where there is one that holds: an error that may pass does not. */
  find<Value>(key: string): StageResult<Value> | undefined {
    const found = this.#byKey.get(key);
    return found?.error?.retry ? undefined : (found as StageResult<Value> | undefined);
  }

  /** All that was ever said of something, in the order in which it was. */
  of(what: string): readonly StageResult[] {
    return this.#byWhat.get(what) ?? [];
  }

  /** Every result that holds, in the order in which their keys came first. */
  results(): Iterable<StageResult> {
    return this.#byKey.values();
  }

  /** Adds a result; it is on the disk after `flush`, or a moment later. */
  append(result: StageResult): void {
    this.#index(result);
    this.#pending.push(JSON.stringify(result));
    if (this.#pending.length >= BATCH_LINES)
      void this.flush().catch(() => {}); // it is told by the next one that waits
    else this.#timer ??= setTimeout(() => void this.flush().catch(() => {}), BATCH_MS);
  }

  /** Resolves when everything that was added is on the disk; throws where it cannot be. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#pending.length) {
      const lines = `${this.#pending.join("\n")}\n`;
      this.#pending = [];
      // One after another: a batch that failed keeps those after it from the file, so that its lines are not torn.
      this.#writing = this.#writing.then(async () => {
        if (this.#failure === undefined) await this.store.append(lines).catch((error: unknown) => void (this.#failure = error));
      });
    }
    await this.#writing;
    if (this.#failure !== undefined) throw this.#failure;
  }

  #index(result: StageResult): void {
    this.#byKey.set(result.key, result);
    const list = this.#byWhat.get(result.of);
    if (list) list.push(result);
    else this.#byWhat.set(result.of, [result]);
  }
}

/** A result of a stage: the ledger's where it has one, else the work is done and written down. Only CogwheelErrors become rows. */
export async function resultOfStage<Params, Input, Value>(
  ledger: Ledger,
  stage: LedgerStage<Params, Input, Value>,
  input: Input,
  signal?: AbortSignal,
): Promise<StageResult<Value>> {
  const { name, version, params } = stage;
  const key = resultKey(name, version, params, stage.parents(input));
  const found = ledger.find<Value>(key);
  if (found) return found;
  signal?.throwIfAborted();
  const began = performance.now();
  const row = (rest: Pick<StageResult<Value>, "value" | "error">): StageResult<Value> => {
    const result = { stage: name, key, of: stage.of(input), ...rest, ms: Math.round(performance.now() - began) };
    ledger.append(result);
    return result;
  };
  try {
    return row({ value: await stage.run(input, signal) });
  } catch (error) {
    signal?.throwIfAborted();
    if (!(error instanceof CogwheelError)) throw error;
    return row({ error: { message: error.message, ...((error as { retry?: boolean }).retry ? { retry: true } : {}) } });
  }
}

function resultOf(line: string): StageResult | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (!isObject(value)) return undefined;
  const { stage, key, of } = value;
  return typeof stage === "string" && typeof key === "string" && typeof of === "string" ? (value as unknown as StageResult) : undefined;
}
