/** Whether a text keeps the rules: words, tokens, beginnings, phrases, one line, English. */
import type { T5Tokenizer } from "../../text/t5-tokenizer.ts";
import type { TextRules } from "./rules.ts";

/** A rule that a text breaks. */
export interface Violation {
  readonly rule: "empty" | "words" | "tokens" | "opener" | "phrase" | "line" | "markup" | "unreadable" | "english" | "unfinished";
  /** In words that a model can go by. */
  readonly told: string;
}

/** Tokens of a text as the text encoder reads them, the end mark counted. */
export type TokenCount = (text: string) => number;

/** Counts with the tokenizer of the model that will read the text. */
export const tokensBy =
  (tokenizer: T5Tokenizer): TokenCount =>
  (text) =>
    tokenizer.sentencePiece.encode(new TextEncoder().encode(text)).ids.length + 1;

/** What has a letter or a digit in it, between spaces. */
export const wordsOf = (text: string): string[] => text.split(/\s+/).filter((word) => /[\p{L}\p{N}]/u.test(word));

/** The text without what models wrap it in: spaces, quotation marks, a label, Markdown's emphasis. */
export function unwrapped(text: string): string {
  let bare = text.trim();
  for (let before = ""; before !== bare; ) {
    before = bare;
    bare = bare
      .replace(/^```\w*\s*([\s\S]*?)\s*```$/, "$1")
      .replace(/^\*\*([^*]*)\*\*$/, "$1")
      .replace(/^["“”«]([^"“”«»]*)["“”»]$/, "$1")
      .replace(/^(?:\*\*)?(?:caption|description|prompt|answer|output)(?:\*\*)?:(?:\*\*)?\s+/i, "")
      .trim();
  }
  return bare;
}

/** Pages of errors, JSON, addresses: what servers answer that have nothing to say. */
const MARKUP = /<\/?[a-z!][^<>]*>|[{}]|```|https?:\/\//i;

/** What no encoder of text learned from: control characters, and what stands for bytes that were no character. */
const UNREADABLE = /(?![\t\n\r])[\p{Cc}\uFFFD]/u;

/** @param count leaves out the limit of tokens where there is none */
export function violationsOf(text: string, rules: TextRules, count?: TokenCount): Violation[] {
  const found: Violation[] = [];
  const add = (rule: Violation["rule"], told: string): void => void found.push({ rule, told });
  const words = wordsOf(text);
  if (words.length === 0) return [{ rule: "empty", told: "there must be a text" }];
  if (words.length > rules.maxWords) add("words", `at most ${rules.maxWords} words, not ${words.length}`);
  const tokens = count?.(text) ?? 0;
  if (tokens > rules.maxTokens) add("tokens", `shorter: at most ${rules.maxTokens} tokens, not ${tokens}`);
  if (/[\n\r\u2028\u2029]/.test(text)) add("line", "one paragraph without line breaks");
  if (UNREADABLE.test(text)) add("unreadable", "readable characters alone, without control characters and broken ones");
  if (MARKUP.test(text)) add("markup", "plain text without markup, code or addresses");
  const start = plain(text).replace(/^(?:the|a|an|this|these) /, "");
  const opener = rules.openers.find((one) => beginsWith(plain(text), plain(one)) || beginsWith(start, plain(one)));
  if (opener !== undefined) add("opener", `no beginning such as “${firstWords(text)}”: begin with the content itself`);
  const inside = ` ${plain(text)} `;
  for (const phrase of rules.phrases)
    if (inside.includes(` ${plain(phrase)} `) || inside.includes(` ${plain(phrase)}s `)) add("phrase", `without the words “${phrase}”`);
  if (!isEnglish(text)) add("english", "in English");
  return found;
}

/** Letters in lower case and digits with one space between words: how texts are compared. */
export const plain = (text: string): string =>
  text
    .toLowerCase()
    .replace(/[’']/g, "'")
    .replace(/[^\p{L}\p{N}']+/gu, " ")
    .trim();

const beginsWith = (text: string, opener: string): boolean => text === opener || text.startsWith(`${opener} `);
const firstWords = (text: string): string => text.trim().split(/\s+/).slice(0, 3).join(" ");

/** Little words that hardly a sentence of English does without. */
const ENGLISH = new Set(
  "the and of is are with to as its his her their by from that while into at it through which a an in on over".split(" "),
);
// cspell:disable
/** And of other languages with Latin letters: German, French, Spanish, Italian, Portuguese, Dutch, Polish, Swedish. */
const OTHERS = new Set(
  (
    "der das und ist ein eine einen einem einer dem den mit von auf sich le la les des une un est dans et du sur avec qui el los las una " +
    "del y con por que il lo gli di che per nel della sono os um uma com para em het een van op niet zijn och att som det ett jest " +
    "na nie z w do się je au aux en de"
  ).split(" "),
);
// cspell:enable
/** Words from which on some of the first must be there. */
const JUDGED = 20;

/** By script, and by whose little words there are more of; a list of nouns passes where it is short. */
export function isEnglish(text: string): boolean {
  const letters = text.match(/\p{L}/gu) ?? [];
  const latin = letters.filter((letter) => /\p{Script=Latin}/u.test(letter)).length;
  if (letters.length === 0 || latin < 0.9 * letters.length) return false;
  const words = plain(text).split(" ");
  const own = words.filter((word) => ENGLISH.has(word)).length;
  const others = words.filter((word) => OTHERS.has(word)).length;
  if (others >= 2 && others > own) return false;
  return words.length < JUDGED || own >= words.length / 15;
}
