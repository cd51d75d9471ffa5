/** The docs site (`npm run docs:site`), as far as it can be held without what makes it: its navigation, and its check of links. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { existsSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";

const ROOT = join(import.meta.dirname, "../..");
const SITE = pathToFileURL(join(ROOT, "docs/site/"));
const { brokenLinks } = (await import(new URL("links.mjs", SITE).href)) as { brokenLinks(site: string): string[] };
const { NAVIGATION, PAGES } = (await import(new URL("navigation.mjs", SITE).href)) as {
  NAVIGATION: { title: string; pages: [path: string, title: string][] }[];
  PAGES: { path: string; title: string }[];
};

test("every document is a page of the side bar, once", () => {
  const markdown = (folder: string): string[] =>
    readdirSync(join(ROOT, folder))
      .filter((name) => name.endsWith(".md"))
      .map((name) => (folder === "." ? name : `${folder}/${name}`));
  const listed = PAGES.map(({ path }) => path);
  expect(listed.length).toBe(new Set(listed).size);
  expect(listed.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
  for (const path of [".", "docs", "docs/reference", "examples", "test/reference"].flatMap(markdown)) expect(listed).toContain(path);
  expect(NAVIGATION.every(({ title, pages }) => title && pages.length > 0)).toBe(true);
});

test("a page of the site names only what is in the site, by addresses that work anywhere", async () => {
  const site = await mkdtemp(join(tmpdir(), "cogwheel-site-"));
  const good =
    '<link href="../style.css"><a href="../index.html#there">x</a><a href="#here">x</a><a href="https://a.example">x</a><p id="here">';
  const bad =
    '<img src="https://a.example/x.png"><a href="/index.html">x</a><a href="none.html">x</a><a href="page.html#gone">x</a>' +
    '<script src="no.js">';
  try {
    await mkdir(join(site, "docs"));
    await writeFile(join(site, "style.css"), "");
    await writeFile(join(site, "index.html"), '<h1 id="there">x</h1>');
    await writeFile(join(site, "docs/page.html"), good);
    expect(brokenLinks(site)).toEqual([]);
    await writeFile(join(site, "docs/page.html"), bad);
    expect(brokenLinks(site)).toEqual([
      "docs/page.html: https://a.example/x.png is of another server",
      "docs/page.html: /index.html counts from a server's root",
      "docs/page.html: none.html is not in the site",
      "docs/page.html: page.html#gone names a heading that is not there",
      "docs/page.html: no.js is not in the site",
    ]);
  } finally {
    await rm(site, { recursive: true, force: true });
  }
});

test("what makes it is installed by its command, whole versions by a lock", async () => {
  const { dependencies } = JSON.parse(await readFile(join(ROOT, "docs/site/package.json"), "utf8")) as {
    dependencies: Record<string, string>;
  };
  const lock = JSON.parse(await readFile(join(ROOT, "docs/site/package-lock.json"), "utf8")) as {
    packages: Record<string, { version?: string }>;
  };
  for (const [name, version] of Object.entries(dependencies)) expect(lock.packages[`node_modules/${name}`]?.version, name).toBe(version);
});
