/** How near a text comes to another: chrF, ROUGE-L, and how much of what is named and counted is in it. */
import { plain } from "../rules/check.ts";

/** From 0 to 1. */
export interface TextScores {
  /** F2 of character n-grams up to 6 (Popović 2015), as sacrebleu counts them for a sentence. */
  readonly chrf: number;
  /** F1 of the longest common subsequence of words (Lin 2004). */
  readonly rougeL: number;
  /** Share of the reference's content words that are there: what is named. There is no tagger: words without the little ones. */
  readonly names: number;
  /** Share of its numbers, in digits or words; 1 where it has none. */
  readonly numbers: number;
}

export const textScores = (text: string, reference: string): TextScores => ({
  chrf: chrf(text, reference),
  rougeL: rougeL(text, reference),
  names: recall(contentWords(text), contentWords(reference)),
  numbers: recall(numbersIn(text), numbersIn(reference)),
});

const ORDERS = 6;
/** Recall counts so many times as much as precision. */
const BETA2 = 4;

export function chrf(text: string, reference: string): number {
  const [a, b] = [text, reference].map((one) => [...one.replace(/\s+/g, "")]);
  let [precision, recall_, orders] = [0, 0, 0];
  for (let n = 1; n <= ORDERS; n++) {
    const [got, want] = [ngrams(a!, n), ngrams(b!, n)];
    const [gotAll, wantAll] = [a!.length - n + 1, b!.length - n + 1];
    if (gotAll <= 0 || wantAll <= 0) continue;
    let both = 0;
    for (const [gram, count] of got) both += Math.min(count, want.get(gram) ?? 0);
    precision += both / gotAll;
    recall_ += both / wantAll;
    orders++;
  }
  if (orders === 0) return 0;
  const [p, r] = [precision / orders, recall_ / orders];
  return p + r === 0 ? 0 : ((1 + BETA2) * p * r) / (BETA2 * p + r);
}

function ngrams(characters: readonly string[], n: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (let i = 0; i + n <= characters.length; i++) {
    const gram = characters.slice(i, i + n).join("");
    counts.set(gram, (counts.get(gram) ?? 0) + 1);
  }
  return counts;
}

export function rougeL(text: string, reference: string): number {
  const [a, b] = [text, reference].map((one) =>
    plain(one)
      .split(/[\s']+/)
      .filter(Boolean),
  );
  const common = longestCommon(a!, b!);
  if (common === 0) return 0;
  const [p, r] = [common / a!.length, common / b!.length];
  return (2 * p * r) / (p + r);
}

function longestCommon(a: readonly string[], b: readonly string[]): number {
  let row = new Array<number>(b.length + 1).fill(0);
  for (const word of a) {
    const next = [0];
    for (let j = 1; j <= b.length; j++) next.push(word === b[j - 1] ? row[j - 1]! + 1 : Math.max(row[j]!, next[j - 1]!));
    row = next;
  }
  return row.at(-1)!;
}

const LITTLE = new Set(
  [
    "a an the and or but if then than that this these those there here of in on at to from with without within into onto over under",
    "above below by for as is are was were be been being has have had do does did its it he she they them his her their our your my we",
    "you i who which what where when while whose how not no so such some any all each every other another both more most very too also",
    "only just up down out off through across along around between among near behind before after during toward towards against about",
    "can could may",
  ]
    .join(" ")
    .split(" "),
);
const COUNTS = "zero one two three four five six seven eight nine ten eleven twelve dozen hundred thousand".split(" ");

/** Words that are none of the little ones and no numbers, each once, in the singular as far as an s tells. */
export const contentWords = (text: string): Set<string> =>
  new Set(
    plain(text)
      .split(" ")
      .map((word) => word.replace(/'s?$/, ""))
      .filter((word) => word.length > 2 && !LITTLE.has(word) && !COUNTS.includes(word) && !/^\d/.test(word))
      .map((word) => word.replace(/(?<=[^s])s$/, "")),
  );

/** Numbers, those in words as digits. */
const numbersIn = (text: string): Set<string> =>
  new Set(
    plain(text)
      .split(" ")
      .flatMap((word) => (/^\d+$/.test(word) ? [String(Number(word))] : COUNTS.includes(word) ? [String(COUNTS.indexOf(word))] : [])),
  );

const recall = (got: ReadonlySet<string>, want: ReadonlySet<string>): number =>
  want.size === 0 ? 1 : [...want].filter((one) => got.has(one)).length / want.size;
