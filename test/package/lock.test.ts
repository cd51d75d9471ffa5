/** `npm ci` must work on every platform, from a lock made on one of them. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

interface Entry {
  version?: string;
  resolved?: string;
  integrity?: string;
  license?: string;
  dev?: boolean;
  link?: boolean;
  optionalDependencies?: Record<string, string>;
}
const lock = JSON.parse(readFileSync("package-lock.json", "utf8")) as { packages: Record<string, Entry> };

test("every optional dependency has an entry: npm ci refuses a lock that lacks another platform's package", () => {
  const missing = Object.entries(lock.packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies)
      .filter((name) => !lock.packages[`${path}/node_modules/${name}`] && !lock.packages[`node_modules/${name}`])
      .map((name) => `${path || "the project"}: ${name}`),
  );
  expect(missing).toEqual([]);
});

test.each(["package-lock.json", "bench/peers/package-lock.json", "docs/site/package-lock.json"])(
  "no entry of %s names a download address",
  (file) => {
    const { packages } = JSON.parse(readFileSync(file, "utf8")) as typeof lock;
    expect(
      Object.entries(packages)
        .filter(([, e]) => e.resolved?.startsWith("http"))
        .map(([path]) => path),
    ).toEqual([]);
  },
);

/**
 * Packages for platforms that the registry did not serve where the lock was made, and whose hashes may not come from anywhere else. npm
 * installs them by the registry's own hash. Where they are served, `npm view NAME@VERSION dist.integrity` says what belongs in their
 * entries.
 */
const NOT_SERVED = [
  "darwin-arm64",
  "darwin-x64",
  "linux-arm-gnueabihf",
  "linux-arm64-gnu",
  "linux-arm64-musl",
  "win32-arm64-msvc",
  "win32-x64-msvc",
].map((platform) => `node_modules/@napi-rs/webcodecs-${platform}`);

test.each(["package-lock.json", "bench/peers/package-lock.json", "docs/site/package-lock.json"])(
  "every entry of %s has the hash of its package, but for those that were not served",
  (file) => {
    const { packages } = JSON.parse(readFileSync(file, "utf8")) as typeof lock;
    const entries = Object.entries(packages).filter(([path, { link }]) => path !== "" && !link);
    expect(
      entries
        .filter(([, { integrity }]) => integrity === undefined)
        .map(([path]) => path)
        .filter((path) => !NOT_SERVED.includes(path)),
    ).toEqual([]);
    for (const [path, { integrity }] of entries)
      if (integrity !== undefined) expect(integrity, path).toMatch(/^sha512-[A-Za-z0-9+/]{86}==$/);
  },
);

test("NOTICE names every package that an app installs with this one, by its licence", () => {
  const notice = readFileSync("NOTICE", "utf8");
  // Its package.json says MIT, its licence file is the BSD one.
  const licences: Record<string, string> = { webgpu: "BSD-3-Clause" };
  const rows = Object.entries(lock.packages)
    .filter(([path, { dev }]) => path !== "" && !dev)
    .map(([path, { license = "none" }]) => [path.replace(/^.*node_modules\//, ""), license] as const)
    .filter(([name]) => !name.startsWith("@napi-rs/webcodecs-"));
  expect(rows.length).toBeGreaterThan(30);
  const missing = rows.filter(
    ([name, license]) =>
      !notice.split("\n").some((line) => {
        const [, named, licence] = /^ {2}(\S+) +(\S+)/.exec(line) ?? [];
        return named === name && licence === (licences[name] ?? license);
      }),
  );
  expect(missing).toEqual([]);
});
