/** A kernel is found from its op: the op's file says in which folders its kernels lie. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { allKernels } from "#kernels";
import { packageRoot } from "../../src/cli/package-root.ts";

const OPS = join(packageRoot, "src/ops");
const camel = (name: string): string => name.replace(/_([a-z0-9])/g, (_, c: string) => c.toUpperCase());
const families = new Map(allKernels.map(({ name, family }) => [camel(name), family]));

it("every op's header names the folders of its kernels", () => {
  let named = 0;
  for (const file of readdirSync(OPS).filter((name) => name.endsWith(".ts"))) {
    const text = readFileSync(join(OPS, file), "utf8");
    const imported = /^import \{([^}]*)\} from "#kernels"/m.exec(text)?.[1]?.split(",") ?? [];
    const kernels = imported.map((one) => one.trim().split(" as ")[0]!).filter(Boolean);
    if (kernels.length === 0) continue;
    const header = text.slice(0, text.indexOf("*/"));
    const want = [...new Set(kernels.map((kernel) => families.get(kernel)!))].sort();
    expect(header.replace(/\n \* /g, " "), file).toContain(`Kernels: ${want.map((family) => `kernels/${family}/`).join(", ")}.`);
    named++;
  }
  expect(named).toBeGreaterThan(20);
});

it.each(
  readdirSync(join(packageRoot, "kernels"), { recursive: true })
    .map(String)
    .filter((name) => name.endsWith(".wgsl")),
)("%s begins with its name and keeps to lines of 140", (file) => {
  const lines = readFileSync(join(packageRoot, "kernels", file), "utf8").split("\n");
  const name = file.replaceAll("\\", "/").replace(/^(?!shared\/).*\//, "");
  expect(lines[0]!.startsWith(`// ${name} — `), lines[0]).toBe(true);
  expect(lines[1]).toBe("//");
  expect(lines.filter((line) => [...line].length > 140)).toEqual([]);
});
