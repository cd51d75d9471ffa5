/**
 * What is kept of every file of the checkout: one name a type, no circles, short files, short lines, one style of headers, names of files
 * that are there.
 */
import { expect, test } from "vitest";
import { filesUnder, importsOf, textOf } from "../support/imports.ts";

const SOURCES = filesUnder("src").filter((path) => !path.endsWith(".d.ts"));

test("no two files export one type's name, whatever its case", () => {
  const places = new Map<string, string[]>();
  for (const path of SOURCES)
    for (const [, name] of textOf(path).matchAll(/^export (?:declare )?(?:abstract )?(?:interface|type|class|enum) (\w+)/gm))
      places.set(name!.toLowerCase(), [...(places.get(name!.toLowerCase()) ?? []), `${name} in ${path}`]);
  expect([...places.values()].filter((list) => list.length > 1)).toEqual([]);
});

test("files import each other in no circle, types included", () => {
  const circles: string[] = [];
  const state = new Map<string, "open" | "done">();
  const visit = (path: string, way: readonly string[]): void => {
    if (state.get(path) === "open") circles.push([...way.slice(way.indexOf(path)), path].join(" → "));
    if (state.has(path)) return;
    state.set(path, "open");
    for (const to of importsOf(path)) if (/\.ts$/.test(to) && !/\.d\.ts$/.test(to)) visit(to, [...way, path]);
    state.set(path, "done");
  };
  for (const path of SOURCES) visit(path, []);
  expect(circles).toEqual([]);
});

test("no file of src has more than 450 lines", () => {
  const long = SOURCES.map((path) => `${path} has ${textOf(path).split("\n").length - 1}`).filter(
    (told) => Number(/\d+$/.exec(told)) > 450,
  );
  expect(long).toEqual([]);
});

test("a file of src begins with a doc comment that says what it is", () => {
  expect(SOURCES.filter((path) => !/^(?:#!.*\n|\/\/\/ .*\n)?\/\*\*[ \n]/.test(textOf(path)))).toEqual([]);
});

test("no line is longer than 140 columns, but for one regular expression or address", () => {
  const text = [
    ...["src", "web", "wasm", "bench", "test"].flatMap((folder) => filesUnder(folder).concat(filesUnder(folder, ".mjs"))),
    ...filesUnder("kernels", ".wgsl"),
    ...["html", "css"].flatMap((ending) => filesUnder("web", ending)),
  ].filter((path) => !path.includes("/node_modules/"));
  expect(text.length).toBeGreaterThan(500);
  const long = text.flatMap((path) =>
    textOf(path)
      .split("\n")
      .flatMap((line, i) => ([...line].length > 140 && !/^\s*(?:"\w+": )?\/\S|https?:\/\/\S{60}/.test(line) ? [`${path}:${i + 1}`] : [])),
  );
  expect(long).toEqual([]);
});

test("a file that a comment names is there", () => {
  const files = ["src", "web", "wasm", "bench", "test", "kernels"].flatMap((folder) =>
    [".ts", ".mjs", ".wgsl"].flatMap((ending) => filesUnder(folder, ending)),
  );
  const gone = ["src", "web", "bench"]
    .flatMap((folder) => filesUnder(folder))
    .filter((path) => !path.includes("/node_modules/"))
    .flatMap((path) =>
      [...textOf(path).matchAll(/^\s*(?:\/?\*|\/\/).*$/gm)].flatMap(([comment]) =>
        [...comment.matchAll(/(?<![\w./-])(?:[\w-]+\/)*[\w-]+\.(?:ts|wgsl)\b/g)]
          .filter(([name]) => !files.some((file) => `/${file}`.endsWith(`/${name}`)))
          .map(([name]) => `${path} names ${name}`),
      ),
    );
  expect(gone).toEqual([]);
});
