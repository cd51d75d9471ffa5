/** Help and version come at once: what the command line loads before a command runs holds nothing of the engine. */
import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { expect, it } from "vitest";
import { COMMANDS } from "../../src/cli/commands/index.ts";

const ROOT = join(import.meta.dirname, "../..");

/** The files that `file` imports at once, with those that they import; types and `await import` load nothing then. */
function loadedWith(file: string, seen = new Set<string>()): Set<string> {
  if (seen.has(file)) return seen;
  seen.add(file);
  const source = readFileSync(file, "utf8");
  for (const [, names, from] of source.matchAll(/^(?:import|export) (?!type )([^;"]*?from )?"([^"]+)";$/gm)) {
    const named = /^\{([^}]*)\} from $/.exec(names ?? "")?.[1];
    if (named?.split(",").every((one) => one.trim() === "" || one.trim().startsWith("type "))) continue;
    if (from!.startsWith("#")) seen.add(from!);
    else if (from!.startsWith(".")) loadedWith(join(dirname(file), from!), seen);
  }
  return seen;
}

it("no command loads the engine before it runs", () => {
  const loaded = [...loadedWith(join(ROOT, "src/cli/main.ts"))].map((file) => (file.startsWith("#") ? file : relative(ROOT, file)));
  expect(loaded.length).toBeGreaterThan(COMMANDS.length + 5);
  const light = /^src\/(cli|base|pipelines\/options)\/|^src\/(platform\/system-error|pipelines\/cogvideox\/named-models)\.ts$/;
  expect(loaded.filter((file) => !light.test(file))).toEqual([]);
});
