/** What stands before a run until it is used: its steps as an async iterable. The run itself is opened, and its code loaded, once. */
import { CogwheelError } from "../base/errors.ts";

/** A run that is open. @typeParam Step what it tells of a step */
export interface OpenRun<Step> extends Disposable {
  /** Steps that are done. */
  readonly step: number;
  /** The steps that are left, each taken when it is asked for. */
  steps(): AsyncGenerator<Step, void, void>;
  save(signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>>;
}

export abstract class LazyRun<Step, Run extends OpenRun<Step>> implements AsyncIterable<Step>, AsyncDisposable {
  #run: Promise<Run> | undefined;
  #ended = false;

  /** @internal what makes the run gives it */
  constructor(private readonly begin: () => Promise<Run>) {}

  /** The run, opened where it is not; one that could not be is tried anew. */
  protected opened(): Promise<Run> {
    if (this.#ended) throw new CogwheelError("training", "a run cannot be used after dispose; begin another, with resume to go on");
    return (this.#run ??= this.begin().catch((error: unknown) => {
      this.#run = undefined;
      throw error;
    }));
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Step, void, void> {
    yield* (await this.opened()).steps();
  }

  /** Opens the run before its first step: options are judged, weights are loaded. Resolves to how many steps a resumed run had taken. */
  async open(): Promise<number> {
    return (await this.opened()).step;
  }

  /** The run as it is between two steps: for `resume`. Whoever writes it to a disk should let it take the earlier one's place whole. */
  async save(signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    return await (await this.opened()).save(signal);
  }

  /** Frees what the run has on the device; a step that is under way ends with an error. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true;
    const run = await this.#run?.catch(() => undefined);
    run?.[Symbol.dispose]();
  }
}
