/** Whether everything that the site's pages name is in the site. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";

/** `PAGE: LINK …` of each that is not. Pages of other servers are not asked for; files of other servers must not be needed. */
export function brokenLinks(site) {
  const pages = readdirSync(site, { recursive: true, encoding: "utf8" })
    .map((path) => path.replaceAll("\\", "/"))
    .filter((path) => path.endsWith(".html"));
  const texts = new Map(pages.map((page) => [page, readFileSync(join(site, page), "utf8")]));
  const ids = new Map([...texts].map(([page, text]) => [page, new Set([...text.matchAll(/\sid="([^"]+)"/g)].map(([, id]) => id))]));
  const broken = [];
  for (const [page, text] of texts)
    for (const [, tag, name, link] of text.matchAll(/<(\w+)[^>]*?\s(href|src|srcset)="([^"]*)"/g)) {
      if (/^data:/.test(link)) continue;
      if (/^[a-z]+:|^\/\//i.test(link)) {
        if (name !== "href" || tag === "link") broken.push(`${page}: ${link} is of another server`);
        continue;
      }
      if (link.startsWith("/")) {
        broken.push(`${page}: ${link} counts from a server's root`);
        continue;
      }
      const [path, anchor] = link.replaceAll("&amp;", "&").split("#");
      const file = path === "" ? page : posix.normalize(posix.join(posix.dirname(page), decodeURIComponent(path)));
      if (!existsSync(join(site, file))) broken.push(`${page}: ${link} is not in the site`);
      else if (anchor && ids.has(file) && !file.startsWith("source/") && !ids.get(file).has(decodeURIComponent(anchor)))
        broken.push(`${page}: ${link} names a heading that is not there`);
    }
  return broken;
}
