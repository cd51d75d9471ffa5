import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { opsTable } from "../../src/check/sweep/ops-table.ts";

const root = new URL("../../", import.meta.url);

test("docs/ops.md is as its sources say", () => {
  const text = opsTable(root);
  expect(readFileSync(new URL("docs/ops.md", root), "utf8") === text, "docs/ops.md is out of date: run npm run docs:ops").toBe(true);
  // What a row links to is there.
  for (const [, path] of text.matchAll(/\]\(\.\.\/([^)]+)\)/g)) if (!path!.endsWith("/")) readFileSync(new URL(path!, root));
  expect(text.match(/^\| \[\w+\]/gm)?.length).toBeGreaterThan(20);
});
