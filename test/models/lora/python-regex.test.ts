/**
 * The matcher of PEFT's patterns against Python's `re` (fixtures/python-regex.py): equal verdicts wherever both read a pattern, and
 * only what is known to be left out is refused.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { PythonRegex, PythonRegexError } from "../../../src/models/lora/python-regex.ts";

interface Fixture {
  readonly names: readonly string[];
  /** Pattern → which names `re.fullmatch(pattern)` and `re.match("(.*\.)?(pattern)$")` match, or null where Python refuses it. */
  readonly cases: Readonly<Record<string, readonly [string | null, string | null]>>;
}

/** What Python reads and the matcher does not. */
const LEFT_OUT = /possessive repeats are not supported|there is nothing to repeat|the flag . is not supported|the group \(\?i\)/;

test("800 random patterns of Python's", async () => {
  const { names, cases } = JSON.parse(await readFile(join(import.meta.dirname, "fixtures/python-regex.json"), "utf8")) as Fixture;
  const count = { same: 0, refused: 0, leftOut: 0 };
  for (const [pattern, verdicts] of Object.entries(cases)) {
    for (const [source, how, want] of [
      [pattern, "fullmatch", verdicts[0]],
      [`(.*\\.)?(${pattern})$`, "match", verdicts[1]],
    ] as const) {
      let got: string | null = null;
      let why = "";
      try {
        const regex = new PythonRegex(source, { steps: 1e6 });
        got = names.map((name) => Number(regex[how](name, { steps: 1e6 }))).join("");
      } catch (error) {
        if (!(error instanceof PythonRegexError)) throw error;
        why = error.message;
      }
      if (got !== null || want === null) expect(got, `${how} ${source}`).toBe(want);
      else expect(why, source).toMatch(LEFT_OUT);
      count[got !== null ? "same" : want === null ? "refused" : "leftOut"]++;
    }
  }
  expect(count.same).toBeGreaterThan(1200);
  expect(count.refused).toBeGreaterThan(20);
  expect(count.leftOut).toBeLessThan(60);
});

test.each([
  ["a(?:b|c)*d", "abcbcd", true],
  ["(?<=ab)c", "c", false],
  ["x{2,3}", "xxxx", false],
  ["(?i)ABC", "abc", true],
  ["(?i:A)b", "aB", false],
  ["[\\d_]+", "1_2", true],
  ["a\\.b", "axb", false],
  ["\\u0061\\x62\\143", "abc", true],
  ["(?P<a>.)(?:.)", "ab", true],
  [".*(?<!norm)\\.linear", "norm.linear", false],
  ["[^\\W\\d]+", "abc", true],
  ["a{,2}", "aa", true],
  ["a{2", "a{2", true],
  ["()*a", "a", true],
  ["(?=.*b)a.*", "aab", true],
] as const)("%s of %s", (pattern, text, want) => {
  expect(new PythonRegex(pattern, { steps: 1e5 }).fullmatch(text, { steps: 1e5 })).toBe(want);
});

test.each([
  ["(?P<a>x)\\1", /backreference/],
  ["(?P<a>x)(?P=a)", /not supported/],
  ["(?>a)", /not supported/],
  ["(a)(?(1)b|c)", /not supported/],
  ["a*+", /possessive/],
  ["a**", /repeated/],
  ["(?x) a", /flag x/],
  ["[b-a]", /upwards/],
  ["\\q", /escape/],
  ["(?<=a*)b", /one width/],
  ["(){1000000000}", /unfold to more than 20000/],
  ["(?:(?:(){20000}){20000}){20000}", /take too long/],
  ["a{,999999999999999999999}", /unfold/],
  [`${"(".repeat(5000)}`, /nests deeper/],
  ["a".repeat(20_000), /characters/],
] as const)("%s is refused", (pattern, message) => {
  expect(() => new PythonRegex(pattern, { steps: 1e6 })).toThrow(message);
});
