/** Markdown to pages: every document of the navigation, and a page for each file of the checkout that one of them points at. */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, extname, join, posix } from "node:path";
import { createRequire } from "node:module";
import MarkdownIt from "markdown-it";
import anchors from "markdown-it-anchor";
import mermaid from "mermaid";
import MiniSearch from "minisearch";
import { createHighlighter } from "shiki";
import { escaped, hrefFrom, layout, pageOf } from "./layout.mjs";
import { brokenLinks } from "./links.mjs";
import { PAGES } from "./navigation.mjs";
import { SEARCH_FIELDS, SEARCH_OPTIONS } from "./search-options.mjs";

const HERE = import.meta.dirname;
const ROOT = join(HERE, "../..");
const LANGUAGES = ["ts", "js", "wgsl", "sh", "json", "jsonl", "python", "html", "css", "toml", "yaml", "md"];
/** By how files are named. */
const OF_NAME = { ".mjs": "js", ".cjs": "js", ".py": "python" };
/** Files that are shown as they are. */
const PICTURES = new Set([".png", ".gif", ".svg", ".jpg", ".webp", ".mp4"]);
/** What is larger is copied, and not shown. */
const MOST_SHOWN = 200_000;

/** As the tests and GitHub have it: anchors that documents write stay true. */
export const slug = (title) =>
  title
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-");

const sourcePage = (path) => `source/${path.replace(/\/+$/, "") || "index"}.html`;

/**
 * Builds it. Resolves to how much there is, and to every link that leads nowhere.
 * @param {string} out a folder, which is made anew
 */
export async function buildSite(out) {
  rmSync(out, { recursive: true, force: true });
  const highlighter = await createHighlighter({ themes: ["github-light", "github-dark"], langs: LANGUAGES });
  const loaded = new Set(highlighter.getLoadedLanguages());
  const highlight = (code, lang) =>
    highlighter.codeToHtml(code, {
      lang: loaded.has(lang) ? lang : "text",
      themes: { light: "github-light", dark: "github-dark" },
      defaultColor: false,
    });
  const known = new Set(PAGES.map(({ path }) => path));
  /** Files and folders of the checkout that pages point at. */
  const sources = new Set();
  const broken = [];
  const write = (path, content) => {
    mkdirSync(dirname(join(out, path)), { recursive: true });
    writeFileSync(join(out, path), content);
  };
  /** The site's address of what a document points at, from that document's page. */
  const addressOf = (document, page, link) => {
    if (/^[a-z]+:/i.test(link) || link.startsWith("#")) return link;
    const [path, anchor] = link.split("#");
    const file = posix.normalize(posix.join(posix.dirname(document), decodeURIComponent(path))).replace(/\/$/, "");
    const hash = anchor === undefined ? "" : `#${anchor}`;
    if (!existsSync(join(ROOT, file))) {
      broken.push(`${document}: ${link} is not there`);
      return link;
    }
    if (known.has(file)) return hrefFrom(page, pageOf(file)) + hash;
    if (PICTURES.has(extname(file))) {
      cpSync(join(ROOT, file), join(out, file), { recursive: true });
      return hrefFrom(page, file);
    }
    sources.add(file);
    return hrefFrom(page, sourcePage(file)) + hash;
  };

  const index = new MiniSearch({ ...SEARCH_OPTIONS, fields: SEARCH_FIELDS });
  for (const { path, title } of PAGES) {
    const page = pageOf(path);
    const markdown = documentMarkdown(highlight, (link) => addressOf(path, page, link));
    const env = { sections: [], drawings: [] };
    const body = markdown.render(readFileSync(join(ROOT, path), "utf8"), env);
    for (const drawing of env.drawings)
      await mermaid.parse(drawing).catch((error) => broken.push(`${path}: a drawing cannot be drawn: ${error.message}`));
    for (const section of env.sections) index.add({ ...section, id: `${page}#${section.id}`, page: title });
    write(page, layout({ page, title, body, outline: env.sections.filter(({ level }) => level === 2 || level === 3) }));
  }
  // A folder's page points at files that other pages show, so it comes after them.
  const shown = [...sources].sort();
  for (const file of shown) {
    const page = sourcePage(file);
    const body = statSync(join(ROOT, file)).isDirectory() ? folderBody(file, page, sources, known) : fileBody(file, highlight);
    write(page, layout({ page, title: file, body, outline: [] }));
  }

  write("site/search-index.js", `globalThis.searchIndex = ${JSON.stringify(JSON.stringify(index))};\n`);
  const resolve = createRequire(join(HERE, "package.json")).resolve;
  cpSync(join(dirname(resolve("minisearch")), "../umd/index.js"), join(out, "site/minisearch.js"));
  cpSync(join(HERE, "node_modules/mermaid/dist/mermaid.min.js"), join(out, "site/mermaid.js"));
  cpSync(join(HERE, "style.css"), join(out, "site/style.css"));
  cpSync(join(HERE, "page.js"), join(out, "site/page.js"));
  write("site/search-options.js", `globalThis.searchOptions = ${JSON.stringify({ ...SEARCH_OPTIONS, fields: SEARCH_FIELDS })};\n`);
  return { pages: PAGES.length, sources: shown.length, broken: [...broken, ...brokenLinks(out)] };
}

/** What reads one document. `env.sections` gets its headings, each with the text below it, `env.drawings` what Mermaid draws. */
function documentMarkdown(highlight, address) {
  const markdown = new MarkdownIt({ html: true, linkify: false, highlight });
  markdown.use(anchors, {
    slugify: slug,
    permalink: anchors.permalink.linkInsideHeader({ symbol: "#", placement: "after", ariaHidden: true }),
  });
  const { renderer } = markdown;
  const fence = renderer.rules.fence;
  renderer.rules.fence = (tokens, i, options, env, self) =>
    tokens[i].info.trim() === "mermaid" ? `<pre class="mermaid">${escaped(tokens[i].content)}</pre>` : fence(tokens, i, options, env, self);
  renderer.rules.table_open = () => '<div class="table"><table>';
  renderer.rules.table_close = () => "</table></div>";
  markdown.core.ruler.push("addresses and sections", ({ tokens, env }) => {
    let section = { id: "", level: 1, title: "", text: "" };
    for (const [i, token] of tokens.entries()) {
      if (token.type === "heading_open") {
        section = { id: token.attrGet("id") ?? "", level: Number(token.tag.slice(1)), title: plain(tokens[i + 1]), text: "" };
        env.sections.push(section);
      } else if (token.type === "fence" && token.info.trim() === "mermaid") env.drawings.push(token.content);
      else if (token.type === "inline" && tokens[i - 1]?.type !== "heading_open") section.text += `${plain(token)}\n`;
      else if (token.type === "fence") section.text += `${token.content}\n`;
      for (const child of token.children ?? []) {
        for (const name of ["href", "src"]) {
          const link = child.attrGet?.(name);
          if (link) child.attrSet(name, address(link));
        }
        if (child.type === "html_inline") child.content = inHtml(child.content, address);
      }
      if (token.type === "html_block") token.content = inHtml(token.content, address);
    }
  });
  return markdown;
}

const inHtml = (html, address) => html.replace(/\b(src|srcset|href)="([^"]+)"/g, (_, name, link) => `${name}="${address(link)}"`);
const plain = ({ children }) =>
  (children ?? [])
    .filter(({ type, attrGet, meta }) => !(type === "link_open" && meta?.permalink) && attrGet)
    .filter(({ type }) => type === "text" || type === "code_inline" || type === "softbreak")
    .map(({ type, content }) => (type === "softbreak" ? " " : content))
    .join("")
    .trim();

function fileBody(file, highlight) {
  const bytes = readFileSync(join(ROOT, file));
  const text = bytes.length <= MOST_SHOWN && !bytes.subarray(0, 1000).includes(0) ? bytes.toString("utf8") : undefined;
  const ending = extname(file);
  const lang = OF_NAME[ending] ?? ending.slice(1);
  const body = text === undefined ? `<p>${bytes.length.toLocaleString("en")} bytes, which are not shown here.</p>` : highlight(text, lang);
  return `<h1 class="file">${escaped(file)}</h1>${body}`;
}

function folderBody(folder, page, sources, known) {
  const rows = readdirSync(join(ROOT, folder), { withFileTypes: true })
    .filter(({ name }) => name !== "node_modules" && !name.startsWith("."))
    .map((entry) => {
      const file = `${folder}/${entry.name}`;
      const name = escaped(entry.name) + (entry.isDirectory() ? "/" : "");
      const to = known.has(file) ? pageOf(file) : sources.has(file) ? sourcePage(file) : undefined;
      return `<li>${to ? `<a href="${hrefFrom(page, to)}">${name}</a>` : name}</li>`;
    });
  return `<h1 class="file">${escaped(folder)}/</h1><ul>${rows.join("")}</ul>`;
}
