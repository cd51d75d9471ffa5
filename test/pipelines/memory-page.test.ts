/** docs/memory.md is what the plans say. The rows that are quick to plan are made again here. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { CASES, limitRow, PublishedPlans, withTables } from "../../src/pipelines/cogvideox/memory-page.ts";

const page = readFileSync(new URL("../../docs/memory.md", import.meta.url), "utf8");

it("has a row for every published checkpoint, at its own size and at half of it", () => {
  for (const of of CASES) expect(page.split(`\n| ${new PublishedPlans(of).title} | `).length, of.name).toBe(3);
});

it("is up to date", () => {
  const [half] = CASES.filter(({ name, settings }) => name === "cogvideox-2b" && settings.width !== undefined);
  expect(page, "docs/memory.md is out of date: run npm run docs:memory").toContain(limitRow(new PublishedPlans(half!)));
});

it("is made between marks, and nothing else of it is touched", () => {
  const text = "a\n<!-- work -->\nold\n<!-- /work -->\nb\n<!-- limits -->\n<!-- /limits -->\n";
  const made = withTables(text, { work: "| w |", limits: "| l |" });
  expect(made).toBe("a\n<!-- work -->\n| w |\n<!-- /work -->\nb\n<!-- limits -->\n| l |\n<!-- /limits -->\n");
  expect(withTables(made, { work: "| w |", limits: "| l |" })).toBe(made);
});
