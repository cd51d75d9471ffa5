/** What a small model knows: one that was taught a few words draws something for any others too, and would not say so. */
import { CogwheelError } from "../base/errors.ts";

/** Of `generation.json`: all words that mean something to the model, and in a few words what it can show. */
export interface Vocabulary {
  readonly about: string;
  readonly words: ReadonlySet<string>;
}

const wordsOf = (text: string): string[] => text.toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];

/** Reads `{ about, words }`; nothing where a checkpoint says nothing of it, as those that know everything do. */
export function vocabularyFrom({ vocabulary }: Readonly<Record<string, unknown>>): Vocabulary | undefined {
  if (vocabulary === undefined) return undefined;
  const { about, words } = (vocabulary ?? {}) as { about?: unknown; words?: unknown };
  if (typeof about !== "string" || !Array.isArray(words) || !words.every((word) => typeof word === "string"))
    throw new CogwheelError(
      "generate",
      `generation.json: vocabulary must hold about, a text, and words, a list of texts, got ${JSON.stringify(vocabulary)}; correct it`,
      { code: "model" },
    );
  return { about, words: new Set(words.flatMap(wordsOf)) };
}

/** Words that are named; of many the rest is only counted. */
const SHOWN = 5;

/** What to tell whoever asks for more than the model knows; nothing of a prompt that it knows. */
export function beyondVocabulary(prompt: string, { about, words }: Vocabulary): string | undefined {
  const unknown = [...new Set(wordsOf(prompt).filter((word) => !words.has(word)))];
  if (unknown.length === 0) return undefined;
  const named = unknown.slice(0, SHOWN).map((word) => `“${word}”`);
  if (unknown.length > SHOWN) named.push(`${unknown.length - SHOWN} more`);
  const list = named.length > 1 ? `${named.slice(0, -1).join(", ")} and ${named.at(-1)!}` : named[0]!;
  return (
    `this little model knows only ${about}; it does not know ${list}, and draws what it knows all the same. ` +
    "For anything else open a published CogVideoX, such as zai-org/CogVideoX-2b (about 13 GB)"
  );
}
