/** Search, the menu of a phone, and drawings. Everything that it loads lies beside it: a page opened from a disk may ask for nothing. */
const root = document.documentElement;
const home = root.dataset.home;
const input = document.querySelector("#search");
const list = document.querySelector("#found");
const menu = document.querySelector("#menu");

const load = (name) =>
  new Promise((resolve, reject) => {
    const script = document.createElement("script");
    Object.assign(script, { src: `${home}/site/${name}`, onload: resolve, onerror: reject });
    document.head.append(script);
  });

let index;
/** The index is as large as all documents: it comes when somebody is about to search. */
const searcher = () =>
  (index ??= Promise.all([load("minisearch.js"), load("search-index.js"), load("search-options.js")]).then(() =>
    globalThis.MiniSearch.loadJSON(globalThis.searchIndex, globalThis.searchOptions),
  ));
input.addEventListener("focus", () => void searcher());

/** A piece of the text around the first word that was found. */
function excerpt(text, terms) {
  const low = text.toLowerCase();
  const found = Math.min(...terms.map((term) => low.indexOf(term)).filter((i) => i >= 0), low.length);
  const at = found < 60 ? 0 : low.indexOf(" ", found - 50) + 1;
  return `${at > 0 ? "… " : ""}${text
    .slice(at, at + 140)
    .replace(/\s+/g, " ")
    .replace(/ \S*$/, "")} …`;
}

let chosen = -1;
function choose(next) {
  const items = [...list.children];
  items[chosen]?.setAttribute("aria-selected", "false");
  chosen = items.length ? (next + items.length) % items.length : -1;
  items[chosen]?.setAttribute("aria-selected", "true");
  items[chosen]?.scrollIntoView({ block: "nearest" });
  if (chosen >= 0) input.setAttribute("aria-activedescendant", items[chosen].id);
  else input.removeAttribute("aria-activedescendant");
}
function show(open) {
  list.hidden = !open;
  input.setAttribute("aria-expanded", String(open));
}

input.addEventListener("input", async () => {
  const text = input.value.trim();
  const results = text === "" ? [] : (await searcher()).search(text).slice(0, 12);
  if (text !== input.value.trim()) return;
  list.replaceChildren(
    ...results.map(({ id, title, page, text, terms }, i) => {
      const item = document.createElement("li");
      const link = document.createElement("a");
      const [head, tail] = [document.createElement("strong"), document.createElement("small")];
      head.textContent = title === page || title === "" ? page : `${page} › ${title}`;
      tail.textContent = excerpt(text, terms);
      Object.assign(link, { href: `${home}/${id.replace(/#$/, "")}`, tabIndex: -1 });
      link.append(head, tail);
      Object.assign(item, { id: `found-${i}`, role: "option" });
      item.append(link);
      return item;
    }),
  );
  if (text !== "" && results.length === 0) {
    const none = document.createElement("li");
    none.textContent = "Nothing found.";
    list.append(none);
  }
  chosen = -1;
  show(text !== "");
  if (results.length) choose(0);
});
input.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    choose(chosen + (event.key === "ArrowDown" ? 1 : -1));
  } else if (event.key === "Enter") list.children[chosen]?.querySelector("a")?.click();
  else if (event.key === "Escape") show(false);
});
list.addEventListener("click", () => show(false));
document.addEventListener("click", ({ target }) => {
  if (!target.closest(".search")) show(false);
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || /^(INPUT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "")) return;
  event.preventDefault();
  input.focus();
});

menu.addEventListener("click", () => {
  const open = root.classList.toggle("menu");
  menu.setAttribute("aria-expanded", String(open));
});

const dark = matchMedia("(prefers-color-scheme: dark)").matches;
if (document.querySelector(".mermaid")) globalThis.mermaid.initialize({ startOnLoad: true, theme: dark ? "dark" : "neutral" });
