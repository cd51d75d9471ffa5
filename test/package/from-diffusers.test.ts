/** docs/from-diffusers.md names what is there: options, exports, and the same names as refusals do. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import * as api from "../../src/index.ts";
import { DIFFUSERS_NAMES, DIFFUSERS_ONLY } from "../../src/pipelines/options/diffusers-names.ts";
import { OPTIONS } from "../../src/pipelines/options/table.ts";

const page = readFileSync(join(import.meta.dirname, "../../docs/from-diffusers.md"), "utf8");
const [, pipeline, call] = page.split(/^## .*$/m);
const rows = (section: string) =>
  [...section.matchAll(/^\| (`[^|]*)\|([^|]*)\|/gm)].map(([, theirs, ours]) =>
    [theirs!, ours!].map((cell) => [...cell.matchAll(/`([\w.]+)/g)].map(([, name]) => name!)),
  ) as [string[], string[]][];

it("maps diffusers' options to options that are there, as refusals do", () => {
  const told = new Map(rows(call!).flatMap(([theirs, ours]) => theirs.map((name, i) => [name, ours[i]] as const)));
  for (const [theirs, ours] of told) if (ours) expect(Object.keys(OPTIONS), theirs).toContain(ours);
  const renamed = [...told].filter(([theirs, ours]) => ours && theirs !== ours);
  expect(Object.fromEntries(renamed)).toEqual(DIFFUSERS_NAMES);
  const none = call!.matchAll(/^\| (`[^|]*)\| \|(.*)\|$/gm);
  const why = [...none].flatMap(([, names, note]) => [...names!.matchAll(/`(\w+)/g)].map(([, name]) => [name!, note!.replaceAll("`", "")]));
  const said = Object.entries(DIFFUSERS_ONLY).map(([name, note]) => [name, ` ${note.replace(/^it is /, "")} `]);
  expect(why).toEqual(said);
});

it("names exports and options that are there", () => {
  const exported = Object.keys(api);
  const opened = readFileSync(join(import.meta.dirname, "../../src/pipelines/options.ts"), "utf8");
  const places = readFileSync(join(import.meta.dirname, "../../src/pipelines/component-files.ts"), "utf8");
  const known = (name: string): boolean =>
    exported.includes(name.split(".")[0]!) ||
    Object.hasOwn(OPTIONS, name) ||
    name === "prompts" ||
    /^(open|generate|video\.save)$/.test(name) ||
    new RegExp(`^  (readonly )?${name}\\?`, "m").test(opened + places);
  const ours = rows(pipeline!).flatMap(([, ours]) => ours);
  expect(ours.length).toBeGreaterThan(15);
  expect(ours.filter((name) => !known(name))).toEqual([]);
});
