/** The rules of captions and prompts: what breaks them is found, told to the model, and marked where it stays. */
import { expect, it } from "vitest";
import { openSource } from "../../src/hub/open-node.ts";
import { Endpoint } from "../../src/curation/endpoint/endpoint.ts";
import { askByRules } from "../../src/curation/rules/ask.ts";
import { isEnglish, tokensBy, unwrapped, violationsOf, wordsOf } from "../../src/curation/rules/check.ts";
import { RULES, rulesWith } from "../../src/curation/rules/rules.ts";
import { T5Tokenizer } from "../../src/text/t5-tokenizer.ts";
import { chatServer, saidIn } from "../support/chat-server.ts";

const GOOD =
  "A brown dog runs across a wide meadow and jumps over a low wooden fence, its ears flapping in the wind, while the camera follows it " +
  "from the side.";
const rulesBroken = (text: string, rules = RULES.caption) => violationsOf(text, rules).map(({ rule }) => rule);

it.each<[string, string[]]>([
  [GOOD, []],
  ["Videos of dogs are shown.", ["phrase"]],
  ["The video shows a dog that runs.", ["opener", "phrase"]],
  ["In this scene, a dog runs.", ["opener"]],
  ["Here's a description: a dog runs.", ["opener"]],
  ["A dog runs.\nThen it jumps.", ["line"]],
  [" ".repeat(5), ["empty"]],
  ["…!?", ["empty"]],
  ["<html><body>502 Bad Gateway</body></html>", ["markup"]],
  ["A dog\u0000 runs over the meadow.", ["unreadable"]],
  ["A dog runs over the \uFFFD\uFFFD meadow.", ["unreadable"]],
  ["I’m sorry, but I can’t help with that.", ["opener"]],
  [
    Array.from({ length: 101 }, (_, i) => (i % 2 ? "dog and" : "the cat"))
      .join(" ")
      .split(" ")
      .slice(0, 101)
      .join(" "),
    ["words"],
  ],
  ["Ein brauner Hund läuft über eine weite Wiese und springt über einen niedrigen Zaun, die Kamera folgt ihm dabei.", ["english"]],
  ["Un chien brun court dans une vaste prairie et saute par-dessus une clôture en bois, suivi par la caméra.", ["english"]],
  ["Dog 3 runs over wide green meadows to low fences and jumps.", []],
  ["Un perro marrón corre por la pradera y salta la valla.", ["english"]],
  [
    "Pies biegnie przez łąkę i skacze, kamera podąża obok niego powoli, potem widać niebo, chmury, drzewa, dom, ludzi oraz stary płot.",
    ["english"],
  ],
  ["A woman in a café in Los Angeles eats a crème brûlée de la casa.", []],
  ["一只棕色的狗在草地上奔跑", ["english"]],
  ["Scene of calm water under a bridge, with boats on it.", ["opener"]],
  ["Scenery of calm water under a bridge, with boats on it.", []],
  ["Picture frames hang on the wall of a hall.", []],
])("%s", (text, broken) => expect(rulesBroken(text)).toEqual(broken));

it("counts tokens with the tokenizer that the model reads with, the end mark too", async () => {
  await using source = await openSource("models/moving-shapes");
  const tokenizer = await T5Tokenizer.open(source);
  const count = tokensBy(tokenizer);
  const text = "a red circle moving left on a black background";
  expect(count(text)).toBe(tokenizer.encode(text, 64).length);
  const exact = { ...RULES.caption, maxTokens: count(text) };
  expect(violationsOf(text, exact, count)).toEqual([]);
  expect(violationsOf(text, { ...exact, maxTokens: exact.maxTokens - 1 }, count)).toEqual([
    { rule: "tokens", told: `shorter: at most ${exact.maxTokens - 1} tokens, not ${exact.maxTokens}` },
  ]);
});

it("the examples keep the rules that they are examples of, and are as long as captions", () => {
  for (const { text } of RULES.examples) {
    expect(violationsOf(text, RULES.prompt)).toEqual([]);
    expect(wordsOf(text).length).toBeGreaterThan(75);
  }
});

it("what models wrap a text in is taken off", () => {
  expect(unwrapped('  **Caption:** "A dog runs."\n')).toBe("A dog runs.");
  expect(unwrapped("```text\nA dog runs.\n```")).toBe("A dog runs.");
  expect(unwrapped('A "dog" runs.')).toBe('A "dog" runs.');
  expect(isEnglish("red circle, black background")).toBe(true);
});

it("a person's own rules take the place of some, and are checked", () => {
  const own = rulesWith({ caption: { maxWords: 20 }, instructions: { frame: "Look." } });
  expect(own.caption).toEqual({ ...RULES.caption, maxWords: 20 });
  expect(own.instructions).toEqual({ ...RULES.instructions, frame: "Look." });
  expect(() => rulesWith({ caption: { maxWord: 20 } })).toThrow(/rules.caption must have no names but .*, got "maxWord"/);
  expect(() => rulesWith({ caption: { maxWords: "20" } })).toThrow(/rules.caption.maxWords must be a whole number above 0, got "20"/);
  expect(() => rulesWith({ examples: ["a"] })).toThrow(/a list of \{ prompt, text \}/);
});

it("a text that breaks rules is asked for again with what was wrong", async () => {
  await using server = await chatServer({
    models: { data: [{ id: "m" }] },
    answer: ({ index }) => ["The video shows a dog.", "<html>", GOOD][index]!,
  });
  const request = { parts: [{ text: "describe" }], seed: 5 };
  const { text, violations, tries } = await askByRules(new Endpoint({ url: server.url }), request, { rules: RULES.caption });
  expect([text, violations, tries.length]).toEqual([GOOD, [], 3]);
  expect(saidIn(server.asked[1]!)).toContain("no beginning such as “The video shows”: begin with the content itself");
  expect(saidIn(server.asked[1]!)).toContain("Your answer was:\nThe video shows a dog.");
  expect(server.asked.map(({ body }) => body.seed)).toEqual([5, 6, 7]);
  expect(tries[0]).toMatchObject({ request, answer: { text: "The video shows a dog." } });
});

it("after three retries the best one is taken, and marked; a request that fails counts as a try", async () => {
  const answers = ["The video shows a dog.\nIt runs.", { whole: {} }, "The video shows a dog.", "The video shows\na cat."];
  await using server = await chatServer({ models: { data: [{ id: "m" }] }, answer: ({ index }) => answers[index]! });
  const { text, violations, tries } = await askByRules(
    new Endpoint({ url: server.url }),
    { parts: [{ text: "x" }] },
    { rules: RULES.caption },
  );
  expect(text).toBe("The video shows a dog.");
  expect(violations.map(({ rule }) => rule)).toEqual(["opener", "phrase"]);
  expect(tries.map(({ error }) => error !== undefined)).toEqual([false, true, false, false]);
  await using silent = await chatServer({ models: { data: [{ id: "m" }] }, answer: () => ({ whole: {} }) });
  await expect(askByRules(new Endpoint({ url: silent.url }), { parts: [{ text: "x" }] }, { rules: RULES.caption })).rejects.toThrow(
    /without a message/,
  );
  expect(silent.asked).toHaveLength(4);
});
