/**
 * Patterns of Python's `re` as trees. What Python refuses is refused, and what no automaton can
 * match: backreferences, atomic groups, conditions.
 */

/** Instructions of one pattern; `{1000}` of `{1000}` must not fill the memory. No repeat can have more. */
export const MAX_PROGRAM = 20_000;
const MAX_PATTERN = 10_000;
const MAX_NESTING = 100;

export type CharTest = (code: number) => boolean;
export type Assertion = "start" | "end" | "word" | "not word";
export type PatternNode =
  | { kind: "char"; test: CharTest }
  | { kind: "sequence" | "choice"; parts: PatternNode[] }
  | { kind: "repeat"; part: PatternNode; least: number; most: number }
  | { kind: "assert"; what: Assertion }
  | { kind: "look"; part: PatternNode; ahead: boolean; negated: boolean };
export const isWord: CharTest = (c) => (c >= 48 && c <= 57) || (c >= 65 && c <= 90) || c === 95 || (c >= 97 && c <= 122);
const isDigit: CharTest = (c) => c >= 48 && c <= 57;
const isSpace: CharTest = (c) => c === 32 || (c >= 9 && c <= 13) || (c >= 28 && c <= 31);
const CLASSES: Record<string, CharTest> = {
  d: isDigit,
  w: isWord,
  s: isSpace,
  D: (c) => !isDigit(c),
  W: (c) => !isWord(c),
  S: (c) => !isSpace(c),
};
const CONTROLS: Record<string, number> = { n: 10, t: 9, r: 13, f: 12, v: 11, a: 7 };
const lower = (code: number): number => (code >= 65 && code <= 90 ? code + 32 : code);
const sameLetter =
  (code: number): CharTest =>
  (c) =>
    lower(c) === lower(code);

/** A text by its characters. */
export const codes = (text: string): number[] => Array.from(text, (c) => c.codePointAt(0)!);

/** Says why a pattern cannot be used; the caller says whose it is. */
export class PythonRegexError extends Error {}

/** Reads one pattern. */
export class Parser {
  readonly #text: number[];
  #at = 0;
  #nesting = 0;
  #ignoreCase = false;

  constructor(pattern: string) {
    if (pattern.length > MAX_PATTERN) throw new PythonRegexError(`it has ${pattern.length} characters, ${MAX_PATTERN} are read`);
    this.#text = codes(pattern);
  }

  parse(): PatternNode {
    const flags = /^\(\?([aiLmsux]+)\)/.exec(this.#rest(10))?.[1];
    if (flags) {
      this.#at += flags.length + 3;
      this.#flags(flags);
    }
    const node = this.#choice();
    if (this.#at < this.#text.length) throw new PythonRegexError(`there is an unbalanced ) at ${this.#at}`);
    return node;
  }

  #rest(length: number): string {
    return String.fromCodePoint(...this.#text.slice(this.#at, this.#at + length));
  }
  #peek(): string {
    return this.#rest(1);
  }
  #take(text: string): boolean {
    if (this.#rest(text.length) !== text) return false;
    this.#at += text.length;
    return true;
  }
  #flags(flags: string): void {
    if (/[xL]/.test(flags)) throw new PythonRegexError(`the flag ${/[xL]/.exec(flags)![0]} is not supported`);
    // a, u, m and s say what counts as a letter or a line; module names have neither letters beyond ASCII nor lines.
    if (flags.includes("i")) this.#ignoreCase = true;
  }

  #choice(): PatternNode {
    if (++this.#nesting > MAX_NESTING) throw new PythonRegexError(`it nests deeper than ${MAX_NESTING}`);
    const parts = [this.#sequence()];
    while (this.#take("|")) parts.push(this.#sequence());
    this.#nesting--;
    return parts.length === 1 ? parts[0]! : { kind: "choice", parts };
  }

  #sequence(): PatternNode {
    const parts: PatternNode[] = [];
    while (this.#at < this.#text.length && !/[|)]/.test(this.#peek())) {
      const part = this.#atom();
      if (part) parts.push(this.#repeated(part));
    }
    return { kind: "sequence", parts };
  }

  #repeated(part: PatternNode): PatternNode {
    const range = this.#quantifier();
    if (!range) return part;
    if (part.kind === "assert") throw new PythonRegexError("there is nothing to repeat");
    if (this.#take("+")) throw new PythonRegexError("possessive repeats are not supported");
    this.#take("?"); // lazy: the same texts match
    if (this.#quantifier()) throw new PythonRegexError("a repeat is repeated");
    const [least, most] = range;
    if (least > most) throw new PythonRegexError(`a repeat must be in order, got {${least},${most}}`);
    if (least > MAX_PROGRAM || (most > MAX_PROGRAM && most !== Infinity))
      throw new PythonRegexError(`its repeats unfold to more than ${MAX_PROGRAM} steps`);
    return { kind: "repeat", part, least, most };
  }

  #quantifier(): [number, number] | undefined {
    if (this.#take("*")) return [0, Infinity];
    if (this.#take("+")) return [1, Infinity];
    if (this.#take("?")) return [0, 1];
    const found = /^\{(\d*)(,?)(\d*)\}/.exec(this.#rest(40));
    if (!found || found[0] === "{}") return undefined; // a plain brace; {,} is a repeat
    const [all, least, comma, most] = found as unknown as [string, string, string, string];
    this.#at += all.length;
    return [Number(least), comma ? (most ? Number(most) : Infinity) : Number(least)];
  }

  #atom(): PatternNode | undefined {
    const code = this.#text[this.#at++]!;
    switch (String.fromCodePoint(code)) {
      case "(":
        return this.#group();
      case "[":
        return { kind: "char", test: this.#set() };
      case "\\":
        return this.#escape();
      case ".":
        return { kind: "char", test: (c) => c !== 10 };
      case "^":
        return { kind: "assert", what: "start" };
      case "$":
        return { kind: "assert", what: "end" };
      case "*":
      case "+":
      case "?":
        throw new PythonRegexError(`there is nothing to repeat at ${this.#at - 1}`);
      case "{": {
        this.#at--;
        if (this.#quantifier()) throw new PythonRegexError(`there is nothing to repeat at ${this.#at}`);
        this.#at++;
      }
    }
    return { kind: "char", test: this.#letter(code) };
  }

  #letter(code: number): CharTest {
    return this.#ignoreCase ? sameLetter(code) : (c) => c === code;
  }

  #group(): PatternNode | undefined {
    if (!this.#take("?")) return this.#closed(this.#choice());
    if (this.#take("#")) {
      while (this.#at < this.#text.length && this.#peek() !== ")") this.#at++;
      return void this.#closed(undefined);
    }
    const name = /^P<([A-Za-z_]\w*)>/.exec(this.#rest(200));
    if (name) {
      this.#at += name[0].length;
      return this.#closed(this.#choice());
    }
    for (const [mark, ahead, negated] of [
      ["<=", false, false],
      ["<!", false, true],
      ["=", true, false],
      ["!", true, true],
    ] as const) {
      if (this.#take(mark)) return this.#closed({ kind: "look" as const, part: this.#choice(), ahead, negated });
    }
    const flags = /^([aimsu]*)(?:-([ims]+))?:/.exec(this.#rest(12));
    if (!flags) throw new PythonRegexError(`the group (?${this.#rest(6)} is not supported`);
    this.#at += flags[0].length;
    const before = this.#ignoreCase;
    if (flags[1]!.includes("i")) this.#ignoreCase = true;
    if (flags[2]?.includes("i")) this.#ignoreCase = false;
    const node = this.#closed(this.#choice());
    this.#ignoreCase = before;
    return node;
  }

  #closed<T>(node: T): T {
    if (!this.#take(")")) throw new PythonRegexError("a group is not closed");
    return node;
  }

  #escape(): PatternNode {
    const letter = this.#peek();
    if (letter === "A") return (this.#at++, { kind: "assert", what: "start" });
    if (letter === "Z") return (this.#at++, { kind: "assert", what: "end" });
    if (letter === "b") return (this.#at++, { kind: "assert", what: "word" });
    if (letter === "B") return (this.#at++, { kind: "assert", what: "not word" });
    const test = CLASSES[letter];
    if (test) return (this.#at++, { kind: "char", test });
    // Three octal digits are a character, any other number is a group.
    if (/^[1-9]/.test(letter) && !/^[0-3][0-7]{2}/.test(this.#rest(3)))
      throw new PythonRegexError(`the backreference \\${letter} is not supported`);
    return { kind: "char", test: this.#letter(this.#code()) };
  }

  /** The character that stands after a backslash. */
  #code(): number {
    const code = this.#text[this.#at++];
    if (code === undefined) throw new PythonRegexError("it ends in a backslash");
    const letter = String.fromCodePoint(code);
    if (CONTROLS[letter] !== undefined) return CONTROLS[letter];
    const digits = { x: 2, u: 4, U: 8 }[letter];
    if (digits !== undefined) {
      const hex = this.#rest(digits);
      const value = /^[0-9a-fA-F]+$/.test(hex) && hex.length === digits ? Number.parseInt(hex, 16) : Infinity;
      if (value > 0x10ffff) throw new PythonRegexError(`\\${letter} must be followed by ${digits} hex digits of a character`);
      this.#at += digits;
      return value;
    }
    if (/[0-7]/.test(letter)) {
      const octal = /^[0-7]{1,3}/.exec(letter + this.#rest(2))![0];
      this.#at += octal.length - 1;
      return Number.parseInt(octal, 8);
    }
    if (/[A-Za-z89]/.test(letter)) throw new PythonRegexError(`the escape \\${letter} is not supported`);
    return code;
  }

  #set(): CharTest {
    const negated = this.#take("^");
    const tests: CharTest[] = [];
    for (let first = true; first || this.#peek() !== "]"; first = false) {
      const [low, test] = this.#member();
      const dash = this.#rest(2);
      if (dash[0] !== "-" || dash[1] === "]" || dash.length < 2) {
        tests.push(test ?? this.#letter(low));
        continue;
      }
      this.#at++;
      const [high, other] = this.#member();
      if (test || other || high < low) throw new PythonRegexError("a range in [ ] must go upwards between two characters");
      const fold = this.#ignoreCase;
      tests.push(
        (c) => (c >= low && c <= high) || (fold && [lower(c), c >= 97 && c <= 122 ? c - 32 : c].some((x) => x >= low && x <= high)),
      );
    }
    this.#at++;
    return (c) => tests.some((test) => test(c)) !== negated;
  }

  #member(): [number, CharTest | undefined] {
    const code = this.#text[this.#at++];
    if (code === undefined) throw new PythonRegexError("a [ is not closed");
    if (code !== 92) return [code, undefined];
    const letter = this.#peek();
    if (CLASSES[letter]) return (this.#at++, [-1, CLASSES[letter]]);
    if (letter === "b") return (this.#at++, [8, undefined]);
    return [this.#code(), undefined];
  }
}
