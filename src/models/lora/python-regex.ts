/**
 * Regular expressions as Python's `re` reads them, asked only whether they match. PEFT's configs are full of them and come from
 * strangers, so nothing here backtracks: a pattern becomes a small program, and a pair of (instruction, place in the text) that failed
 * once is not tried again, which bounds a match by the product of both lengths. JavaScript's own RegExp reads another language
 * (`(?P<name>`, `\Z`, `{,3}`) and may take exponential time. What no such program can say (backreferences, atomic groups, conditions)
 * is refused.
 */
import {
  codes,
  isWord,
  MAX_PROGRAM,
  Parser,
  PythonRegexError,
  type Assertion,
  type CharTest,
  type PatternNode,
} from "./python-regex-parser.ts";

export { codes, PythonRegexError };

/** What remains of the steps that all patterns of one file may take together, to be made and to be matched. */
export interface MatchBudget {
  steps: number;
}
/** A character of a pattern takes about as long to read. */
const STEPS_TO_READ = 6;
/** An instruction takes about as long to make as this many steps of a match. */
const STEPS_TO_MAKE = 10;
function spend(budget: MatchBudget, steps: number): void {
  budget.steps -= steps;
  if (budget.steps < 0) throw new PythonRegexError("all patterns together take too long");
}

type Instruction =
  | { op: "char"; test: CharTest }
  | { op: "split"; to: number[] }
  | { op: "jump"; to: number }
  | { op: "assert"; what: Assertion }
  /** Behind, the part ends here and begins `width` characters before. */
  | { op: "look"; program: Instruction[]; width: number | null; negated: boolean }
  | { op: "match" };

/** How many characters a node takes, where it is always the same. */
function widthOf(node: PatternNode): number | null {
  switch (node.kind) {
    case "char":
      return 1;
    case "assert":
    case "look":
      return 0;
    case "sequence":
      return node.parts.reduce<number | null>((sum, part) => (sum === null ? null : addWidth(sum, widthOf(part))), 0);
    case "choice":
      return node.parts.map(widthOf).reduce((a, b) => (a === b ? a : null));
    case "repeat": {
      const width = widthOf(node.part);
      return width !== null && node.least === node.most ? width * node.least : null;
    }
  }
}
const addWidth = (a: number, b: number | null): number | null => (b === null ? null : a + b);

function compile(node: PatternNode, budget: MatchBudget, size = { left: MAX_PROGRAM }): Instruction[] {
  const program: Instruction[] = [];
  const emit = (instruction: Instruction): number => {
    if (--size.left < 0) throw new PythonRegexError(`its repeats unfold to more than ${MAX_PROGRAM} steps`);
    spend(budget, STEPS_TO_MAKE);
    return program.push(instruction) - 1;
  };
  const write = (part: PatternNode): void => {
    switch (part.kind) {
      case "char":
        return void emit({ op: "char", test: part.test });
      case "assert":
        return void emit({ op: "assert", what: part.what });
      case "sequence":
        for (const one of part.parts) write(one);
        return;
      case "look": {
        const width = part.ahead ? null : widthOf(part.part);
        if (!part.ahead && width === null) throw new PythonRegexError("what is looked for behind must have one width");
        return void emit({ op: "look", program: compile(part.part, budget, size), width, negated: part.negated });
      }
      case "choice": {
        const to: number[] = [];
        emit({ op: "split", to });
        const ends = part.parts.map((one) => {
          to.push(program.length);
          write(one);
          const end = { op: "jump" as const, to: 0 };
          emit(end);
          return end;
        });
        for (const end of ends) end.to = program.length;
        return;
      }
      case "repeat": {
        for (let i = 0; i < part.least; i++) {
          spend(budget, 1); // an empty part emits nothing
          write(part.part);
        }
        if (part.most === Infinity) {
          const to: number[] = [];
          const at = emit({ op: "split", to });
          to.push(program.length);
          write(part.part);
          emit({ op: "jump", to: at });
          to.push(program.length);
          return;
        }
        const splits: number[][] = [];
        for (let i = part.least; i < part.most; i++) {
          const to: number[] = [];
          emit({ op: "split", to });
          to.push(program.length);
          splits.push(to);
          write(part.part);
        }
        for (const to of splits) to.push(program.length);
      }
    }
  };
  write(node);
  emit({ op: "match" });
  return program;
}

/** The memory of matches, of one for each look within another; a mark is older than the match that reads it, or its own. */
const scratch: Uint32Array[] = [];
let match = 0;
/** More states than these are of a pattern that is matched a few times only, within any budget. */
const SCRATCH = 1 << 20;

/** Does `program` match from `from`, up to `end` exactly where that is given? */
function run(program: Instruction[], text: readonly number[], from: number, end: number | null, budget: MatchBudget, depth = 0): boolean {
  const width = text.length + 1;
  const states = program.length * width;
  let seen = scratch[depth];
  if (!seen || seen.length < states) {
    seen = new Uint32Array(states);
    if (states <= SCRATCH) scratch[depth] = seen;
  }
  const mark = (match = (match % 0xffffffff) + 1);
  const open: number[] = [from];
  while (open.length > 0) {
    const state = open.pop()!;
    if (seen[state] === mark) continue;
    seen[state] = mark;
    spend(budget, 1);
    const at = state % width;
    const pc = (state - at) / width;
    const instruction = program[pc]!;
    const go = (to: number, place: number): void => void open.push(to * width + place);
    switch (instruction.op) {
      case "char":
        if (at < text.length && instruction.test(text[at]!)) go(pc + 1, at + 1);
        break;
      case "jump":
        go(instruction.to, at);
        break;
      case "split":
        for (const to of instruction.to) go(to, at);
        break;
      case "assert":
        if (holds(instruction.what, text, at)) go(pc + 1, at);
        break;
      case "look": {
        const start = instruction.width === null ? at : at - instruction.width;
        const found = start >= 0 && run(instruction.program, text, start, instruction.width === null ? null : at, budget, depth + 1);
        if (found !== instruction.negated) go(pc + 1, at);
        break;
      }
      case "match":
        if (end === null || at === end) return true;
    }
  }
  return false;
}

function holds(what: Assertion, text: readonly number[], at: number): boolean {
  if (what === "start") return at === 0;
  if (what === "end") return at === text.length;
  const word = (i: number): boolean => text[i] !== undefined && isWord(text[i]);
  return (word(at - 1) !== word(at)) === (what === "word");
}

/**
 * A compiled pattern, for texts without line breaks.
 * @throws PythonRegexError where Python would refuse it, or where it is one of those that are not read here
 */
export class PythonRegex {
  readonly #program: Instruction[];
  constructor(pattern: string, budget: MatchBudget) {
    spend(budget, STEPS_TO_MAKE * pattern.length);
    this.#program = compile(new Parser(pattern).parse(), budget);
  }

  /** `re.match`: from the start of the text, not necessarily to its end. */
  match(text: string | readonly number[], budget: MatchBudget): boolean {
    return run(this.#program, codesOf(text), 0, null, budget);
  }

  /** `re.fullmatch`: the whole text. */
  fullmatch(text: string | readonly number[], budget: MatchBudget): boolean {
    const all = codesOf(text);
    return run(this.#program, all, 0, all.length, budget);
  }
}

/** A text that is matched often is taken apart once. */
const codesOf = (text: string | readonly number[]): readonly number[] => (typeof text === "string" ? codes(text) : text);

/** A name that is written as a pattern: a row of characters or classes, perhaps anchored. It needs no automaton. */
export interface NamePattern {
  readonly letters: readonly CharTest[];
  /** `^` stands before it. What stands behind it says nothing where a whole end is matched. */
  readonly fromStart: boolean;
}

/**
 * The names that a pattern is the alternatives of; undefined where it is more than that, or
 * where only Python's verdict on the whole counts.
 */
export function namesOf(pattern: string, budget: MatchBudget): NamePattern[] | undefined {
  if (/^\(\?[^:]/.test(pattern)) return undefined; // flags are refused within another pattern
  spend(budget, STEPS_TO_READ * pattern.length);
  let node: PatternNode;
  try {
    node = new Parser(pattern).parse();
  } catch (error) {
    if (error instanceof PythonRegexError) return undefined;
    throw error;
  }
  while (node.kind === "sequence" && node.parts.length === 1) node = node.parts[0]!; // brackets around all
  const names = (node.kind === "choice" ? node.parts : [node]).map(nameOf);
  return names.every((name) => name !== undefined) ? names : undefined;
}

function nameOf(node: PatternNode): NamePattern | undefined {
  const parts = flat(node);
  let fromStart = false;
  for (; isAnchor(parts[0], "start"); parts.shift()) fromStart = true;
  while (isAnchor(parts.at(-1), "end")) parts.pop();
  const letters = parts.flatMap((part) => (part.kind === "char" ? [part.test] : []));
  return letters.length === parts.length ? { letters, fromStart } : undefined;
}
const flat = (node: PatternNode): PatternNode[] => (node.kind === "sequence" ? node.parts.flatMap(flat) : [node]);
const isAnchor = (node: PatternNode | undefined, what: Assertion): boolean => node?.kind === "assert" && node.what === what;
