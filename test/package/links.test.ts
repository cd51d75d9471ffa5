/** Documents point at files and headings that are there. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";

const ROOT = join(import.meta.dirname, "../..");
const documents = [
  "README.md",
  ...readdirSync(join(ROOT, "docs"))
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`),
  "CHANGELOG.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
  "models/moving-shapes/README.md",
  "test/reference/README.md",
];

/** Anchors of a document's headings, as GitHub makes them. */
const anchors = (path: string): string[] =>
  [
    ...readFileSync(path, "utf8")
      .replace(/^```[\s\S]*?^```/gm, "")
      .matchAll(/^#+ (.+)$/gm),
  ].map(([, title]) =>
    title!
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );

/** What is not in the package is named, and not pointed at. */
it.each(documents)("%s names files of the checkout that are there", (path) => {
  const named = [...readFileSync(join(ROOT, path), "utf8").matchAll(/`((?:bench|test|web)\/[\w./-]+\.\w+)`/g)].map(([, file]) => file!);
  // Of the op that docs/add-an-op.md adds there is no file.
  expect(named.filter((file) => !existsSync(join(ROOT, file)) && !/\/scale\./.test(file))).toEqual([]);
});

it.each(documents)("%s", (path) => {
  const text = readFileSync(join(ROOT, path), "utf8").replace(/^```[\s\S]*?^```/gm, "");
  const broken = [...text.matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, link]) => link!)
    .filter((link) => !/^[a-z]+:/.test(link))
    .filter((link) => {
      const [file, anchor] = link.split("#");
      const target = file ? join(ROOT, dirname(path), file) : join(ROOT, path);
      return !existsSync(target) || (anchor !== undefined && !anchors(target).includes(anchor));
    });
  expect(broken).toEqual([]);
});
