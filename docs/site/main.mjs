/**
 * `npm run docs:site`: the documents as a site, in build/site. It needs no server, no network and no place of its own: addresses are
 * relative, so that it works below any path and from a disk. What makes it is installed into this folder first, where it is missing.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const HERE = import.meta.dirname;
const { dependencies } = JSON.parse(readFileSync(join(HERE, "package.json"), "utf8"));

const installed = Object.entries(dependencies).every(([name, version]) => {
  const file = join(HERE, "node_modules", name, "package.json");
  return existsSync(file) && JSON.parse(readFileSync(file, "utf8")).version === version;
});
if (!installed) {
  console.log("installing what makes the site, into docs/site/node_modules");
  const windows = process.platform === "win32";
  execFileSync("npm", ["ci", "--prefix", HERE, "--ignore-scripts", "--no-audit", "--no-fund"], { stdio: "inherit", shell: windows });
}
const { buildSite } = await import("./build.mjs");
const out = join(HERE, "../../build/site");
const { pages, sources, broken } = await buildSite(out);
for (const line of broken) console.error(line);
console.log(`${pages} pages and ${sources} files that they point at, in ${out}; open index.html`);
if (broken.length > 0) {
  console.error(`[docs] every link of the site must lead somewhere, got ${broken.length} that do not; correct them in the documents`);
  process.exitCode = 1;
}
