/**
 * JSON.parse keeps the last of two equal names and says nothing, and it nests as deep as the text wants. For a header
 * that comes from a stranger both must be known, so this walks the text once before it is parsed. It does not
 * validate: whatever is not JSON is left for JSON.parse to refuse.
 */

/** What {@link scanJson} found. */
export interface JsonScan {
  /** The first name that appears twice in one object, or null. */
  duplicate: string | null;
  /** How deep objects and lists nest; counting stops one above the limit that was asked for. */
  depth: number;
}

/** Looks for a name that is repeated within its object, and for nesting beyond `maxDepth`. */
export function scanJson(text: string, maxDepth: number): JsonScan {
  // Names of the objects that are open; null stands for a list.
  const open: (Set<string> | null)[] = [];
  let depth = 0;
  let last: string | null = null; // the string just read, which is a name if a colon follows
  for (let i = 0; i < text.length; i++) {
    switch (text[i]) {
      case '"': {
        const start = i++;
        while (i < text.length && text[i] !== '"') i += text[i] === "\\" ? 2 : 1;
        last = text.slice(start, i + 1);
        continue;
      }
      case ":": {
        const names = open.at(-1);
        if (names && last !== null) {
          const name = unquote(last);
          if (names.has(name)) return { duplicate: name, depth };
          names.add(name);
        }
        break;
      }
      case "{":
      case "[":
        open.push(text[i] === "{" ? new Set() : null);
        depth = Math.max(depth, open.length);
        if (depth > maxDepth) return { duplicate: null, depth };
        break;
      case "}":
      case "]":
        open.pop();
        break;
      case " ":
      case "\n":
      case "\r":
      case "\t":
        continue; // may stand between a name and its colon
    }
    last = null;
  }
  return { duplicate: null, depth };
}

/** The string that a JSON literal stands for: two spellings of one name are the same name. */
function unquote(literal: string): string {
  if (!literal.includes("\\")) return literal.slice(1, -1);
  try {
    return JSON.parse(literal) as string;
  } catch {
    return literal; // not JSON; the parse that follows says so
  }
}

/** Nesting that a config may have; its own objects are three deep. */
const MAX_DEPTH = 64;

/**
 * A JSON object from a stranger: not deeper than a config can be, no name twice in one object.
 * @param fail makes the error of `must be …, got …`
 */
export function parseJsonObject(text: string, fail: (rule: string, cause?: unknown) => Error): Record<string, unknown> {
  const { duplicate, depth } = scanJson(text, MAX_DEPTH);
  if (depth > MAX_DEPTH) throw fail(`must nest at most ${MAX_DEPTH} deep, got deeper`);
  if (duplicate !== null) throw fail(`must hold a name once in an object, got ${JSON.stringify(duplicate.slice(0, 60))} twice`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw fail(`must be JSON, got text that starts ${JSON.stringify(text.slice(0, 40))}`, cause);
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw fail(`must hold a JSON object, got ${value === null ? "null" : Array.isArray(value) ? "a list" : `a ${typeof value}`}`);
}

/** Whether a parsed JSON value is an object (and neither null nor a list). */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
