/** What `npm run lint` finds, and what of the documents it cannot see: the code in them. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { filesUnder, ROOT, textOf } from "../support/imports.ts";

const run = (script: string, args: readonly string[], input: string) =>
  spawnSync(process.execPath, [join(ROOT, "node_modules", script), ...args], { cwd: ROOT, input, encoding: "utf8" });

test("spelling is checked in the comments and titles of tests", () => {
  const [comment, title, first, later, text] = ["mistaek", "wrongg", "badd", "erorr", "pixell"];
  const file =
    `/** A ${comment}. */\nit("is ${title}", () => {});\n  it.each(["a"])("${first} %s", () => {});\n` +
    `test.each<[string]>([\n  ["a"],\n])("${later}", () => expect("${text}").toBe(1));\n`;
  const { stdout } = run("cspell/bin.mjs", ["lint", "--no-progress", "--no-summary", "stdin://test/base/x.test.ts"], file);
  expect([...stdout.matchAll(/Unknown word \((\w+)\)/g)].map(([, word]) => word)).toEqual([comment, title, first, later]);
});

test("whole files that documents show are formatted", () => {
  const shown = ["README.md", ...filesUnder("docs", ".md").filter((path) => !path.includes("/node_modules/"))].flatMap((path) =>
    [...textOf(path).matchAll(/^```(ts|js)\n((?:\/\*\*|import )[^]*?)^```/gm)].map(([, ending, code]) => ({ path, ending, code: code! })),
  );
  expect(shown.length).toBeGreaterThan(8);
  for (const { path, ending, code } of shown)
    expect(run("@biomejs/biome/bin/biome", ["format", `--stdin-file-path=shown.${ending}`], code).stdout, path).toBe(code);
});
