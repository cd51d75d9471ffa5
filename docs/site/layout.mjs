/** The page around a document. It needs nothing but the navigation, so that tests look at it without what reads Markdown. */
import { dirname, posix, relative } from "node:path";
import { NAVIGATION, PAGES } from "./navigation.mjs";

/** Where a document's page lies in the site: beside its pictures, as in the checkout. */
export const pageOf = (path) => (path === "README.md" ? "index.html" : path.replace(/\.md$/, ".html"));

export const escaped = (text) => text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
/** From a page to another file of the site. */
export const hrefFrom = (page, to) => posix.relative(posix.dirname(page), to) || posix.basename(to);

/**
 * @param page its path in the site
 * @param body HTML
 * @param outline its headings, for the list beside it
 */
export function layout({ page, title, body, outline }) {
  const to = (file) => hrefFrom(page, file);
  const script = (name) => `<script defer src="${to(`site/${name}`)}"></script>`;
  const bar = NAVIGATION.map(
    ({ title, pages }) =>
      `<h2>${title}</h2><ul>${pages
        .map(([path, name]) => {
          const here = pageOf(path) === page ? ' aria-current="page"' : "";
          return `<li><a href="${to(pageOf(path))}"${here}>${escaped(name)}</a></li>`;
        })
        .join("")}</ul>`,
  ).join("");
  const headings = outline.map(({ id, level, title }) => `<li class="level-${level}"><a href="#${id}">${escaped(title)}</a></li>`).join("");
  const at = PAGES.findIndex(({ path }) => pageOf(path) === page);
  const beside = [PAGES[at - 1], at < 0 ? undefined : PAGES[at + 1]].map(
    (one, i) =>
      one && `<a rel="${i ? "next" : "prev"}" href="${to(pageOf(one.path))}">${i ? "" : "← "}${escaped(one.title)}${i ? " →" : ""}</a>`,
  );
  const home = relative(dirname(page), ".").replaceAll("\\", "/") || ".";
  return `<!doctype html>
<html lang="en" data-home="${home}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${page === "index.html" ? "Cogwheel" : `${escaped(title)} · Cogwheel`}</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="${to("site/style.css")}">
${body.includes('class="mermaid"') ? script("mermaid.js") : ""}${script("page.js")}</head><body>
<a class="skip" href="#content">To the text</a>
<header><a class="name" href="${to("index.html")}">Cogwheel</a>
<button id="menu" aria-expanded="false" aria-controls="pages">Pages</button>
<div class="search" role="search"><input id="search" type="search" placeholder="Search (press /)" aria-label="Search" autocomplete="off"
 role="combobox" aria-expanded="false" aria-controls="found" aria-autocomplete="list">
<ul id="found" role="listbox" aria-label="Found" hidden></ul></div></header>
<nav id="pages" aria-label="Pages">${bar}</nav>
<main id="content">${body}<footer>${beside.filter(Boolean).join("")}</footer></main>
<aside aria-label="On this page">${headings ? `<h2>On this page</h2><ul>${headings}</ul>` : ""}</aside>
</body></html>
`;
}
