/**
 * An expression over the columns of a data set, such as `scores.motion > 0.3 && width >= 512`: parsed here, never run as code.
 *
 *     or      = and { "||" and }
 *     and     = compare { "&&" compare }
 *     compare = sum [ ( "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" ) sum ]
 *     sum     = product { ( "+" | "-" ) product }
 *     product = unary { ( "*" | "/" | "%" ) unary }
 *     unary   = [ "!" | "-" ] unary | number | text | true | false | null | column | "(" or ")" | "[" or { "," or } "]"
 *
 * A column is a name, or names with dots between them for a value within a value; a name that is no plain word stands in backticks. A row
 * that lacks a column has null there. Only two numbers or two texts have an order: any other comparison by `<` and its like is false.
 */
import { CogwheelError } from "../base/errors.ts";
import { isObject } from "../base/json-scan.ts";

/** Values of a row by column. */
export type Columns = Readonly<Record<string, unknown>>;

/** An expression that was parsed. */
export interface Filter {
  /** As it was written. */
  readonly text: string;
  /** The columns that it asks for, as they are written. */
  readonly columns: readonly string[];
  /** Does the row pass? */
  takes(row: Columns): boolean;
  /** What `&&` joins at the outermost level, in order: a row passes where all of them take it. */
  readonly parts: readonly FilterPart[];
}

/** What `&&` joins: a part by which a row can fail. */
export type FilterPart = Pick<Filter, "text" | "takes">;

type Evaluate = (row: Columns) => unknown;

interface Token {
  readonly kind: "number" | "text" | "name" | "sign" | "end";
  readonly text: string;
  /** Of its first character, from 0. */
  readonly at: number;
  /** What a number, a text or a path of names stands for. */
  readonly value?: unknown;
}

const MOST_CHARACTERS = 10_000;
const MOST_DEPTH = 64;
/** Characters around an error that its message shows. */
const SHOWN = 30;

const TOKEN =
  /\s+|(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|((?:[\p{L}_][\p{L}\p{N}_]*|`[^`]+`)(?:\.(?:[\p{L}_][\p{L}\p{N}_]*|`[^`]+`))*)|(&&|\|\||==|!=|<=|>=|[<>!()[\],+\-*/%])/uy;

/** Parses an expression; throws, with the position, where it is none. */
export function parseFilter(text: string): Filter {
  const fail = (rule: string, at: number): never => {
    const [from, to] = [Math.max(0, at - SHOWN), Math.min(text.length, at + SHOWN)];
    throw new CogwheelError("filter", `${rule} at character ${at + 1} of ${JSON.stringify(text.slice(from, to))}; correct the expression`);
  };
  if (typeof text !== "string" || text.length > MOST_CHARACTERS)
    throw new CogwheelError(
      "filter",
      `an expression must be a text of at most ${MOST_CHARACTERS} characters, got ${typeof text === "string" ? text.length : typeof text}`,
    );
  const tokens = tokensOf(text, fail);
  const columns = new Set<string>();
  let next = 0;
  let depth = 0;
  let hasOr = false;
  const peek = (): Token => tokens[next]!;
  const isSign = (...signs: string[]): boolean => peek().kind === "sign" && signs.includes(peek().text);
  const take = (...signs: string[]): string | undefined => (isSign(...signs) ? tokens[next++]!.text : undefined);
  const expect = (sign: string): void => {
    if (take(sign) === undefined) fail(`${sign} must follow, got ${named(peek())}`, peek().at);
  };

  function chain(part: () => Evaluate, make: Readonly<Record<string, (a: Evaluate, b: Evaluate) => Evaluate>>): Evaluate {
    let left = part();
    for (let sign = take(...Object.keys(make)); sign !== undefined; sign = take(...Object.keys(make))) left = make[sign]!(left, part());
    return left;
  }
  const numeric =
    (of: (a: number, b: number) => number) =>
    (a: Evaluate, b: Evaluate): Evaluate =>
    (row) => {
      const [x, y] = [a(row), b(row)];
      return typeof x === "number" && typeof y === "number" ? of(x, y) : null;
    };

  const or = (): Evaluate => {
    if (++depth > MOST_DEPTH) fail(`an expression may nest at most ${MOST_DEPTH} deep, got deeper`, peek().at);
    const made = chain(and, {
      "||": (a, b) => {
        hasOr ||= depth === 1;
        return (row) => isTrue(a(row)) || isTrue(b(row));
      },
    });
    depth--;
    return made;
  };
  /** Of the outermost `&&`, as they are parsed; what stands beside an outermost `||` is one part. */
  let parts: FilterPart[] = [];
  const and = (): Evaluate => chain(depth === 1 ? partOfAll : compare, { "&&": (a, b) => (row) => isTrue(a(row)) && isTrue(b(row)) });
  const partOfAll = (): Evaluate => {
    const from = peek().at;
    const made = compare();
    const end = tokens[next - 1]!;
    parts.push({ text: text.slice(from, end.at + end.text.length), takes: (row) => isTrue(made(row)) });
    return made;
  };
  const compare = (): Evaluate => {
    const left = sum();
    const isIn = peek().kind === "name" && peek().text === "in";
    const operator = isIn ? tokens[next++]!.text : take("==", "!=", "<", "<=", ">", ">=");
    if (operator === undefined) return left;
    const right = sum();
    if (isSign("==", "!=", "<", "<=", ">", ">=")) fail("two comparisons must be joined by && or ||, got a second one", peek().at);
    return (row) => COMPARE[operator]!(left(row), right(row));
  };
  const sum = (): Evaluate => chain(product, { "+": numeric((a, b) => a + b), "-": numeric((a, b) => a - b) });
  const product = (): Evaluate =>
    chain(unary, { "*": numeric((a, b) => a * b), "/": numeric((a, b) => a / b), "%": numeric((a, b) => a % b) });
  const unary = (): Evaluate => {
    let signs = "";
    for (let sign = take("!", "-"); sign !== undefined; sign = take("!", "-")) signs = sign + signs;
    let value = primary();
    for (const sign of signs) {
      const of = value;
      value = sign === "!" ? (row) => !isTrue(of(row)) : numeric((a) => -a)(of, () => 0);
    }
    return value;
  };
  const primary = (): Evaluate => {
    const token = tokens[next++]!;
    if (token.kind === "number" || token.kind === "text") return () => token.value;
    if (token.kind === "name" && token.text !== "in") {
      if (Object.hasOwn(CONSTANTS, token.text)) return () => CONSTANTS[token.text];
      columns.add(token.text);
      return (row) => valueAt(row, token.value as readonly string[]);
    }
    if (token.kind === "sign" && token.text === "(") {
      const inner = or();
      expect(")");
      return inner;
    }
    if (token.kind === "sign" && token.text === "[") {
      const items = [or()];
      while (take(",") !== undefined) items.push(or());
      expect("]");
      return (row) => items.map((item) => item(row));
    }
    return fail(`a value or a column must stand here, got ${named(token)}`, token.at);
  };

  const whole = or();
  const takes = (row: Columns): boolean => isTrue(whole(row));
  if (peek().kind !== "end") fail(`the expression must end or go on with an operator, got ${named(peek())}`, peek().at);
  // At depth 1 only the outermost is parsed: with an `||` there, its sides are not what a row has to pass.
  if (hasOr) parts = [{ text: text.trim(), takes }];
  return { text, columns: [...columns], takes, parts };
}

const CONSTANTS: Readonly<Record<string, unknown>> = { true: true, false: false, null: null };

/** Null, false, 0 and the empty text are not true. */
const isTrue = (value: unknown): boolean => Boolean(value);

const ordered =
  (of: (a: number | string, b: number | string) => boolean) =>
  (a: unknown, b: unknown): boolean =>
    (typeof a === "number" && typeof b === "number") || (typeof a === "string" && typeof b === "string") ? of(a, b) : false;

const COMPARE: Readonly<Record<string, (a: unknown, b: unknown) => boolean>> = {
  "==": (a, b) => a === b,
  "!=": (a, b) => a !== b,
  "<": ordered((a, b) => a < b),
  "<=": ordered((a, b) => a <= b),
  ">": ordered((a, b) => a > b),
  ">=": ordered((a, b) => a >= b),
  // A text within a text, or a value within a list.
  in: (a, b) => (Array.isArray(b) ? b.includes(a) : typeof a === "string" && typeof b === "string" && b.includes(a)),
};

/** What stands under names within names; a row's own values only. */
function valueAt(row: Columns, path: readonly string[]): unknown {
  let value: unknown = row;
  for (const name of path) value = isObject(value) && Object.hasOwn(value, name) ? value[name] : null;
  return value ?? null;
}

const named = (token: Token): string => (token.kind === "end" ? "its end" : JSON.stringify(token.text));

function tokensOf(text: string, fail: (rule: string, at: number) => never): Token[] {
  const tokens: Token[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const at = TOKEN.lastIndex;
    const found = TOKEN.exec(text);
    if (!found) {
      TOKEN.lastIndex = 0;
      const hint = { "=": ", compare with ==", "&": ", join by &&", "|": ", join by ||", '"': ", a text without its end" }[text[at]!] ?? "";
      fail(`an expression is made of columns, numbers, texts and operators, got ${JSON.stringify(text[at])}${hint}`, at);
    }
    const [, number, string, name, sign] = found!;
    if (number !== undefined) tokens.push({ kind: "number", text: number, at, value: Number(number) });
    else if (string !== undefined) tokens.push({ kind: "text", text: string, at, value: string.slice(1, -1).replace(/\\(.)/gs, "$1") });
    else if (name !== undefined) tokens.push({ kind: "name", text: name, at, value: partsOf(name) });
    else if (sign !== undefined) tokens.push({ kind: "sign", text: sign, at });
  }
  tokens.push({ kind: "end", text: "", at: text.length });
  return tokens;
}

/** Names between dots, without their backticks. */
const partsOf = (name: string): string[] => [...name.matchAll(/`([^`]+)`|[^.`]+/g)].map(([whole, quoted]) => quoted ?? whole);
