/** `npm ci` must work on every platform, from a lock made on one of them. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

interface Entry { version?: string; resolved?: string; optionalDependencies?: Record<string, string> }
const lock = JSON.parse(readFileSync("package-lock.json", "utf8")) as { packages: Record<string, Entry> };

test("every optional dependency has an entry: npm ci refuses a lock that lacks another platform's package", () => {
  const missing = Object.entries(lock.packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).filter((name) => !lock.packages[`${path}/node_modules/${name}`] && !lock.packages[`node_modules/${name}`]).map((name) => `${path || "the project"}: ${name}`));
  expect(missing).toEqual([]);
});

test.each(["package-lock.json", "bench/peers/package-lock.json"])("no entry of %s names a download address", (file) => {
  const { packages } = JSON.parse(readFileSync(file, "utf8")) as typeof lock;
  expect(Object.entries(packages).filter(([, e]) => e.resolved?.startsWith("http")).map(([path]) => path)).toEqual([]);
});
