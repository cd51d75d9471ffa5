/**
 * The rooms of `src/`, as docs/tour.md lists and draws them, against what the files import. A room imports only rooms below it, those
 * that its row names and no others; the drawing has every arrow that does not follow from two others.
 */
import { expect, test } from "vitest";
import { filesUnder, importsOf, textOf } from "../support/imports.ts";

const TOUR = textOf("docs/tour.md");
/** Rows of the table under "The rooms": a room, what it holds, and the rooms that it imports; from top to bottom. */
const rows = [...TOUR.matchAll(/^\| `([\w/]+)\/` \| [^|]* \|([^|]*)\|$/gm)].map(([, room, imports]) => ({
  room: room!.replace(/^src\/(?=.)/, ""),
  imports: [...imports!.matchAll(/[\w-]+/g)].map(([name]) => name),
}));
const order = rows.map(({ room }) => room);

/** `build/` holds what build.mjs makes: the kernels, the sweep's cases, which belong to check, and constants that import nothing. */
const GENERATED: Readonly<Record<string, string | undefined>> = { "build/sweep-cases.ts": "check" };
function roomOf(path: string): string | undefined {
  if (/^build\/kernels(-packed[\w-]*)?\.ts$/.test(path)) return "kernels";
  if (path.startsWith("build/")) return GENERATED[path];
  const [, room] = /^src\/(?:([\w-]+)\/)?/.exec(path) ?? [];
  return room ?? "src";
}

const arrows = new Map<string, string>(); // "from > to" → a file that shows it
for (const path of [...filesUnder("src"), ...filesUnder("build")])
  for (const to of importsOf(path)) {
    const [a, b] = [roomOf(path), roomOf(to)];
    if (a !== undefined && b !== undefined && a !== b) arrows.set(`${a} > ${b}`, `${path} imports ${to}`);
  }

test("every folder of src is a room, and has one row", () => {
  const folders = new Set(filesUnder("src").map((path) => roomOf(path)!));
  expect(new Set(order)).toEqual(new Set([...folders, "kernels"]));
  expect(order.length).toBe(new Set(order).size);
});

test("a room imports only rooms below it", () => {
  const upwards = [...arrows].filter(([arrow]) => {
    const [from, to] = arrow.split(" > ");
    return order.indexOf(from!) >= order.indexOf(to!);
  });
  expect(upwards).toEqual([]);
});

test("a row names the rooms that its files import, and no others", () => {
  const declared = rows.flatMap(({ room, imports }) => imports.map((to) => `${room} > ${to}`)).sort();
  expect(declared).toEqual([...arrows.keys()].sort());
});

test("the drawing has the arrows that do not follow from others", () => {
  const below = new Map(rows.map(({ room, imports }) => [room, new Set(imports)]));
  const reach = (from: string, to: string): boolean => [...(below.get(from) ?? [])].some((next) => next === to || reach(next, to));
  const needed = [...below].flatMap(([from, next]) =>
    [...next].filter((to) => ![...next].some((other) => other !== to && reach(other, to))).map((to) => `${from} > ${to}`),
  );
  const [, drawing] = /```mermaid\n([^]*?)```/.exec(TOUR) ?? [];
  const drawn = [...drawing!.matchAll(/^\s*(\w+) --> ([\w &]+)$/gm)].flatMap(([, from, to]) =>
    // A node may not be called as the language's own word is.
    to!.split(" & ").map((one) => `${from} > ${one}`.replace(/\bGraph\b/g, "graph")),
  );
  expect(drawn.sort()).toEqual(needed.sort());
  expect(drawing, "words that Mermaid keeps for itself").not.toMatch(/\b(?:graph|end|subgraph|style|click|default|class)\b/);
});
