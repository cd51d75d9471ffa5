/**
 * What a person said of clips, as lines that are only ever added to: of two of one clip the last one counts, and one may be taken back.
 * The six labels and the watermark are what the model is asked too; `good` is whether they would train on the clip.
 */
import { CogwheelError } from "../../base/errors.ts";
import { isObject } from "../../base/json-scan.ts";
import { LABEL_NAMES } from "./labels.ts";

/** What holds for a clip, in the order of the page's keys. */
export const QUESTIONS: readonly string[] = [...LABEL_NAMES, "watermark"];

export interface Judgement {
  readonly clip: string;
  readonly good: boolean;
  /** Those of {@link QUESTIONS} that hold. */
  readonly labels: readonly string[];
}

/** Of a clip that was judged before. */
interface TakenBack {
  readonly clip: string;
  readonly undone: true;
}

/** Where lines go, such as `fileLedgerStore`. */
export interface JudgedStore {
  read(): Promise<string>;
  append(lines: string): Promise<void>;
}

export class JudgedClips {
  /** In the order in which they were judged. */
  readonly #byClip = new Map<string, Judgement>();
  #writing: Promise<unknown> = Promise.resolve();
  /** Lines that are none. */
  readonly broken: number;

  private constructor(
    private readonly store: JudgedStore,
    text: string,
  ) {
    let broken = 0;
    for (const line of text.split("\n")) {
      if (line === "") continue;
      const said = saidIn(line);
      if (said) this.#take(said);
      else broken++;
    }
    this.broken = broken;
  }

  static async open(store: JudgedStore): Promise<JudgedClips> {
    return new JudgedClips(store, await store.read());
  }

  all(): Judgement[] {
    return [...this.#byClip.values()];
  }

  /** Resolves when it is on the disk. */
  async add(judgement: Judgement): Promise<void> {
    await this.#append(judgement);
  }

  /** Takes back what was said last. @returns of which clip; undefined where nothing is left */
  async undo(): Promise<string | undefined> {
    const clip = [...this.#byClip.keys()].at(-1);
    if (clip !== undefined) await this.#append({ clip, undone: true });
    return clip;
  }

  /** One after another; what cannot be written was not said. */
  async #append(said: Judgement | TakenBack): Promise<void> {
    const written = this.#writing.then(() => this.store.append(`${JSON.stringify(said)}\n`));
    this.#writing = written.catch(() => {});
    await written;
    this.#take(said);
  }

  #take(said: Judgement | TakenBack): void {
    this.#byClip.delete(said.clip);
    if (!("undone" in said)) this.#byClip.set(said.clip, said);
  }
}

function saidIn(line: string): Judgement | TakenBack | undefined {
  try {
    return judgementOf(JSON.parse(line));
  } catch {
    return undefined;
  }
}

/** Checks what comes from outside. */
export function judgementOf(value: unknown): Judgement | TakenBack {
  if (!isObject(value) || typeof value["clip"] !== "string") throw new CogwheelError("label", "a judgement must name its clip");
  const { clip, good, labels, undone } = value;
  if (undone === true) return { clip: clip as string, undone };
  const known = Array.isArray(labels) && labels.every((name) => QUESTIONS.includes(name as string));
  if (typeof good !== "boolean" || !known)
    throw new CogwheelError("label", `a judgement must have good (true or false) and labels (of ${QUESTIONS.join(", ")})`);
  return { clip: clip as string, good, labels: [...new Set(labels as string[])] };
}
