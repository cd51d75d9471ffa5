/** A kind of fuzzing, and the tally that it keeps: every input counts once, in one of six ways, of which the last four must stay empty. */
import { CogwheelError } from "../../src/base/errors.ts";
import { random } from "../support/mutate.ts";

export interface FuzzOptions {
  /** How many inputs. */
  readonly count: number;
  /** Of the draws: input `index` of a seed is the same in every run. */
  readonly seed: number;
  /** Only this one. */
  readonly index?: number;
  readonly log: (line: string) => void;
  /** Where inputs that failed are kept. */
  readonly keep: string;
  /** Options of kinds that run on an adapter. */
  readonly adapter?: string;
  readonly dtype: "f32" | "f16";
  readonly kernels?: "gpu" | "cpu";
  /** Inputs of an earlier run, for kinds that make files. */
  readonly cases?: string;
}

export interface FuzzKind {
  /** One line for --help. */
  readonly about: string;
  /** How many inputs a whole run tries. */
  readonly count: number;
  run(options: FuzzOptions, tally: Tally): Promise<void>;
}

/** What became of an input. */
export const OUTCOMES = ["refused", "read", "hang", "death", "foreign error", "silent wrong"] as const;
export type Outcome = (typeof OUTCOMES)[number];
/** Those that are faults of the product. */
const FAULTS: ReadonlySet<Outcome> = new Set(["hang", "death", "foreign error", "silent wrong"]);

export class Tally {
  readonly counts = new Map<Outcome, number>(OUTCOMES.map((outcome) => [outcome, 0]));
  /** One text a fault: what happened, and how to make it happen again. */
  readonly faults: string[] = [];
  /** Rules by which inputs were refused, without the values that were got, and how often. */
  readonly rules = new Map<string, number>();

  get tried(): number {
    return [...this.counts.values()].reduce((sum, n) => sum + n, 0);
  }

  /** @param detail for a fault, what was seen */
  add(outcome: Outcome, input: string, detail = ""): void {
    this.counts.set(outcome, this.counts.get(outcome)! + 1);
    if (FAULTS.has(outcome)) this.faults.push(`${outcome}: ${input}${detail ? `: ${detail}` : ""}`);
  }

  /** Counts a rule by which an input was refused; what was got is left out. */
  rule(text: string): void {
    const rule = text.replace(/, got .*/s, "").slice(0, 200);
    this.rules.set(rule, (this.rules.get(rule) ?? 0) + 1);
  }

  /** Counts what was thrown: a refusal where it is in the house's own voice, else a foreign error. */
  thrown(error: unknown, input: string): void {
    if (isRefusal(error)) {
      this.rule(error.message);
      this.add("refused", input);
    } else
      this.add(
        "foreign error",
        input,
        error instanceof Error ? `${error.name}: ${error.message.slice(0, 300)}\n${error.stack?.slice(0, 1500)}` : String(error),
      );
  }
}

/** Whether an error says in the house's voice, `[room] rule, got value; remedy`, what is wrong, at a length that a terminal shows. */
export function isRefusal(error: unknown): error is CogwheelError {
  return error instanceof CogwheelError && isRefusalText(error.message);
}

/** The same of a message that another process told. */
export function isRefusalText(message: string): boolean {
  return /^\[[\w. ]+\] .{12,}/s.test(message) && message.length < 20_000;
}

/** The indices that a run is of, each with its own draws. */
export function* inputs({
  count,
  seed,
  index,
}: Pick<FuzzOptions, "count" | "seed" | "index">): Generator<{ index: number; seed: number; draw: () => number }> {
  for (let i = index ?? 0; i < (index === undefined ? count : index + 1); i++) {
    const own = (seed * 1_000_003 + i) >>> 0;
    yield { index: i, seed: own, draw: random(own) };
  }
}

export type Settled<T> = { value: T } | { error: unknown } | "hang";

/**
 * What a promise came to within so many seconds. A loop that never yields is not noticed here:
 * run what may hold one in a process of its own.
 */
export async function within<T>(seconds: number, work: Promise<T>): Promise<Settled<T>> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<"hang">((resolve) => (timer = setTimeout(() => resolve("hang"), 1000 * seconds)));
  try {
    return await Promise.race([
      work.then(
        (value) => ({ value }),
        (error: unknown) => ({ error }),
      ),
      late,
    ]);
  } finally {
    clearTimeout(timer);
  }
}
