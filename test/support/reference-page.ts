/**
 * The reference of the package's exports, from its declarations (.d.ts): each with what its comment says and its declaration. TypeScript's
 * native compiler has no API that TypeDoc could use, and declarations are plain enough to be cut by their brackets.
 */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

export interface Exported {
  readonly name: string;
  /** What its comment says, as Markdown; empty where it has none. */
  readonly doc: string;
  /** Its declaration, without what is private or internal. */
  readonly code: string;
  /** A type alone: it is no value. */
  readonly isType: boolean;
}

interface Declared {
  readonly doc: string;
  readonly code: string;
}

interface DeclarationFile {
  readonly declared: ReadonlyMap<string, readonly Declared[]>;
  readonly reexported: ReadonlyMap<string, { readonly from: string; readonly name: string }>;
  /** What may be exported by its name alone. */
  readonly imported: ReadonlyMap<string, { readonly from: string; readonly name: string }>;
  /** Files whose modules are imported whole, by their name here. */
  readonly modules: ReadonlyMap<string, string>;
}

/** Where a string, a comment or a template that begins at `at` ends; `at` where none does. */
function skipped(text: string, at: number): number {
  if (text.startsWith("/*", at)) return text.indexOf("*/", at) + 2;
  if (text.startsWith("//", at)) return (text.indexOf("\n", at) + text.length) % text.length;
  if (!/["'`]/.test(text[at]!)) return at;
  let end = at + 1;
  while (text[end] !== text[at]) end += text[end] === "\\" ? 2 : 1;
  return end + 1;
}

/** A text's parts at its top level, each with the doc comment before it. */
function partsOf(text: string, endsAtBrace: (begin: string) => boolean): Declared[] {
  const parts: Declared[] = [];
  let doc = "";
  for (let at = 0; at < text.length; ) {
    if (/\s/.test(text[at]!)) {
      at++;
      continue;
    }
    if (text.startsWith("/", at)) {
      const end = skipped(text, at);
      doc = text.startsWith("/**", at) ? text.slice(at, end) : "";
      at = end;
      continue;
    }
    const begin = at;
    const braced = endsAtBrace(text.slice(at, at + 80));
    for (let depth = 0; at < text.length; ) {
      const end = skipped(text, at);
      if (end > at) {
        at = end;
        continue;
      }
      const letter = text[at++]!;
      if ("({[".includes(letter)) depth++;
      if (")}]".includes(letter)) depth--;
      if (depth === 0 && (letter === ";" || (braced && letter === "}" && !/^\s*[=>,&|]/.test(text.slice(at, at + 20))))) break;
    }
    parts.push({ doc, code: text.slice(begin, at) });
    doc = "";
  }
  return parts;
}

/** The words of a doc comment. */
const words = (doc: string): string =>
  doc
    .replace(/^\/\*\*|\*\/$/g, "")
    .split("\n")
    .map((line) => line.replace(/^\s*\* ?/, "").trimEnd())
    .join("\n")
    .trim();

const files = new Map<string, DeclarationFile>();
function read(path: string): DeclarationFile {
  const known = files.get(path);
  if (known) return known;
  const declared = new Map<string, Declared[]>();
  const reexported = new Map<string, { from: string; name: string }>();
  const imported = new Map<string, { from: string; name: string }>();
  const modules = new Map<string, string>();
  const resolved = (from: string): string => join(dirname(path), from.replace(/\.ts$/, ".d.ts"));
  for (const part of partsOf(readFileSync(path, "utf8"), (begin) => /^(export )?(declare )?(abstract )?(class|interface)\b/.test(begin))) {
    const [, way, list, from] = /^(export|import) (?:type )?\{([^]*?)\} from "([^"]+)";/.exec(part.code) ?? [];
    for (const entry of list?.split(",") ?? []) {
      const [, name, as] = /^\s*(?:type )?(\w+)(?: as (\w+))?\s*$/.exec(entry) ?? [];
      if (name) (way === "export" ? reexported : imported).set(as ?? name, { from: resolved(from!), name });
    }
    const [, all] = /^export \* from "([^"]+)";/.exec(part.code) ?? [];
    if (all) for (const [name, from] of read(resolved(all)).reexported) reexported.set(name, from);
    const [, alias, module] = /^import type \* as (\w+) from "([^"]+)";/.exec(part.code) ?? [];
    if (alias) modules.set(alias, resolved(module!));
    const [, name] = /^export (?:declare )?(?:abstract )?(?:class|interface|type|function|const) (\w+)/.exec(part.code) ?? [];
    if (name) declared.set(name, [...(declared.get(name) ?? []), part]);
  }
  const file = { declared, reexported, imported, modules };
  files.set(path, file);
  return file;
}

function find(path: string, name: string): readonly Declared[] {
  const { declared, reexported, imported, modules } = read(path);
  const found = declared.get(name);
  const elsewhere = reexported.get(name) ?? imported.get(name);
  if (!found) {
    if (!elsewhere || !existsSync(elsewhere.from)) throw new Error(`${path} exports ${name}, whose declaration is not found`);
    return find(elsewhere.from, elsewhere.name);
  }
  // A call that loads what it calls is declared as that.
  const [, alias, original] = /: typeof (\w+)\.(\w+);$/.exec(found[0]!.code) ?? [];
  return alias ? find(modules.get(alias)!, original!).map(({ code }, i) => ({ doc: i ? "" : found[0]!.doc, code })) : found;
}

/** A declaration as a reader needs it: without what is private, internal, or said elsewhere. */
function shown(code: string): string {
  const plain = code.replace(/^export (declare )?/, "");
  const open = plain.indexOf("{");
  if (!/^(abstract )?(class|interface)\b/.test(plain)) return plain;
  const members = partsOf(plain.slice(open + 1, -1), () => false)
    .filter(({ doc, code }) => !/@internal/.test(doc) && !/^(#|private\b|protected\b)/.test(code))
    .map(({ doc, code }) => `    ${doc ? `${doc}\n    ` : ""}${code}\n`);
  return `${plain.slice(0, open + 1)}\n${members.join("")}}`;
}

/** What a door exports, by name. @param path of its declarations */
export function exportsOf(path: string): Exported[] {
  return [...read(path).reexported]
    .map(([name]) => {
      const all = find(path, name);
      const codes = all.map(({ code }) => shown(code));
      return {
        name,
        doc: words(all.find(({ doc }) => doc)?.doc ?? ""),
        code: codes.join("\n"),
        isType: /^(interface|type)\b/.test(codes[0]!),
      };
    })
    .sort((a, b) => (a.name.toLowerCase() < b.name.toLowerCase() ? -1 : 1));
}

/** The page of a door. */
export function referencePage(title: string, about: string, exported: readonly Exported[]): string {
  const [types, values] = [exported.filter(({ isType }) => isType), exported.filter(({ isType }) => !isType)];
  // Of headings that differ by case alone the second one's place ends in -1.
  const anchors = new Map<string, string>();
  for (const { name } of [...values, ...types]) {
    const anchor = name.toLowerCase();
    anchors.set(name, [...anchors.values()].includes(anchor) ? `${anchor}-1` : anchor);
  }
  const section = (heading: string, list: readonly Exported[]): string => {
    const entries = list.map(({ name, doc, code }) => `### ${name}\n\n${prose(doc, anchors)}\n\n\`\`\`ts\n${code}\n\`\`\`\n`);
    return list.length
      ? `## ${heading}\n\n${list.map(({ name }) => `[${name}](#${anchors.get(name)})`).join(" · ")}\n\n${entries.join("\n")}`
      : "";
  };
  return `# ${title}\n\n${about}\n\n${section("Calls, classes and values", values)}\n${section("Types", types)}`;
}

/** Each tag on a line of its own; names of the page link to their place on it. */
const prose = (doc: string, anchors: ReadonlyMap<string, string>): string =>
  doc
    .replace(/\{@link (\w+)\}/g, (_, name: string) => (anchors.has(name) ? `[${name}](#${anchors.get(name)})` : `\`${name}\``))
    .replace(/\s*@param (\w+)/g, "\n- `$1`:")
    .replace(/\s*@returns? /g, "\n- gives ")
    .replace(/\n- /, "\n\n- ");
