/**
 * Text of strangers (names inside files, paths, answers of servers) as a terminal or a page may show it: what would move the cursor, change
 * colours, break the line or turn the direction of writing is spelled out, and what is longer than anybody reads is cut.
 */

/**
 * Controls (C0, DEL, C1), line and paragraph separators, lone surrogates, and the format characters that turn text around or hide it.
 * The joiners U+200C and U+200D stay: languages and emoji need them.
 */
const UNSEEN = /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;
const NAMED: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

function escaped(character: string): string {
  const code = character.codePointAt(0)!;
  const hex = code.toString(16);
  return NAMED[character] ?? (code < 0x100 ? `\\x${hex.padStart(2, "0")}` : code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\u{${hex}}`);
}

/** One line: every character that is not seen is spelled as JavaScript would (`\n`, `\x1b`, `\u202e`). Twice is the same as once. */
export function visible(text: string): string {
  return text.replace(UNSEEN, escaped);
}

/** Several lines, each made visible: for text that was put together line by line. */
export function visibleLines(text: string): string {
  return text.split("\n").map(visible).join("\n");
}

/** The longest word (a name, a path, a value without spaces) and line of a message. */
const WORD = 400;
const LINE = 2000;

/**
 * Cuts words and lines that are longer than anybody reads in their middle, and says by how
 * much; the end, where a remedy stands, is kept.
 */
export function shortened(text: string): string {
  if (text.length <= WORD) return text;
  return cut(
    text.replace(/\S{401,}/g, (word) => cut(word, WORD)),
    LINE,
  );
}

/** Several lines, each made visible and cut. */
export function shortenedLines(text: string): string {
  return text
    .split("\n")
    .map((line) => shortened(visible(line)))
    .join("\n");
}

/** The text, or its beginning and end, so that it has about `limit` characters. */
export function cut(text: string, limit: number): string {
  const all = text.length > 4 * limit ? undefined : [...text];
  if (all && all.length <= limit) return text;
  const head = [...text.slice(0, 2 * limit)].slice(0, Math.ceil(limit * 0.6)).join("");
  const tail = [...text.slice(-2 * limit)].slice(-Math.floor(limit * 0.3)).join("");
  return `${head}…(${(text.length - head.length - tail.length).toLocaleString("en")} characters)…${tail}`;
}

/**
 * JSON whose every character can be seen: what `JSON.stringify` leaves raw (DEL, C1, directions of
 * writing) is escaped too, which is JSON all the same.
 */
export function visibleJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replace(UNSEEN, (c) =>
    c === "\n" ? c : Array.from({ length: c.length }, (_, i) => `\\u${c.charCodeAt(i).toString(16).padStart(4, "0")}`).join(""),
  );
}
