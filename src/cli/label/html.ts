/** The page to label by, without what moves in it (page.ts). */
import { escaped } from "../../base/html.ts";
import { LABELS } from "../../curation/label/labels.ts";

/** Nothing inside the page runs, and nothing comes from elsewhere. */
export const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; " +
  "frame-ancestors 'none'";

/** What holds for a clip, with the key that says so. */
const HOLDS = [
  ...Object.entries(LABELS).map(([name, meaning], i) => ({ name, meaning, key: String(i + 1) })),
  { name: "watermark", meaning: "a watermark, a channel's logo or a time stamp is laid over the picture", key: "w" },
];

const SHOWN: Readonly<Record<string, string>> = { ArrowRight: "→", ArrowLeft: "←" };
const button = (id: string, key: string, text: string): string =>
  `<button type="button" id="${id}" aria-keyshortcuts="${key}"><kbd>${SHOWN[key] ?? key}</kbd> ${text}</button>`;
/** Of the table. */
const HEADS = ["column", "tells", "yes", "no", "threshold", "TP", "FP", "TN", "FN", "accuracy", "F1", "J", "keep by"];

export const pageHtml = (dataset: string): string => `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Label clips of ${escaped(dataset)}</title><link rel="stylesheet" href="label.css"><link rel="icon" href="icon.svg">
<script type="module" src="label.js"></script></head><body>
<header><h1>Label clips</h1><p id="progress" role="status">Loading …</p></header>
<main>
<p id="trouble" role="alert" hidden></p>
<section id="clip" aria-labelledby="name">
<h2 id="name">Clip</h2>
<div id="pictures"></div>
<div role="group" aria-label="What holds for it" class="holds">
${HOLDS.map(
  ({ name, meaning, key }) =>
    `<button type="button" data-label="${name}" aria-pressed="false" aria-keyshortcuts="${key}">` +
    `<span><kbd>${key}</kbd> <b>${name}</b></span> <small>${escaped(meaning)}</small></button>`,
).join("\n")}
</div>
<div role="group" aria-label="Would you train on it?" class="actions">
${button("good", "y", "I would train on it")} ${button("bad", "n", "I would not")}
${button("back", "ArrowLeft", "back")} ${button("next", "ArrowRight", "next, unsaid")} ${button("undo", "u", "take back the last")}
</div>
</section>
<section aria-labelledby="told">
<h2 id="told">What columns tell of it</h2>
<p><label for="by">Thresholds that are best by</label>
<select id="by"><option value="youden">Youden's J</option><option value="f1">F1</option></select></p>
<div class="wide" role="group" aria-label="Columns" tabindex="0">
<table><thead><tr>${HEADS.map((name) => `<th scope="col">${name}</th>`).join("")}</tr></thead><tbody id="columns"></tbody></table></div>
</section>
</main></body></html>
`;

export const ICON =
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path d="M2 8l4 4 8-9" fill="none" ' +
  'stroke="#2f8f7b" stroke-width="3"/></svg>';

export const STYLE = `
:root {
  color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif;
  --ground: #f6f5f1; --surface: #ffffff; --line: #d9d6cd; --text: #1e2321; --muted: #5d6662; --accent: #1f6f5f; --on: #ffffff;
  --focus: #b85f08; --bad: #a3261f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #141816; --surface: #1d2321; --line: #37403c; --text: #e7ebe8; --muted: #a2ada8; --accent: #6cc3ae; --on: #0d1a17;
    --focus: #ffb066; --bad: #ff9b94;
  }
}
* { box-sizing: border-box }
[hidden] { display: none !important }
body { margin: 0; background: var(--ground); color: var(--text) }
header, main { max-width: 76rem; margin: 0 auto; padding: 0 1rem }
header { display: flex; flex-wrap: wrap; gap: 0 1.5rem; align-items: baseline }
h1 { font-size: 1.3rem; margin: 1rem 0 0 } h2 { font-size: 1rem; overflow-wrap: anywhere }
p { margin: .5rem 0 } small { color: var(--muted); font-size: .8125rem }
#trouble { color: var(--bad) }
#pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 10rem), 1fr)); gap: .5rem; min-height: 7rem }
#pictures img { width: 100%; display: block; border-radius: 6px; background: var(--line) }
.holds { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 16rem), 1fr)); gap: .5rem; margin: 1rem 0 }
.actions { display: flex; flex-wrap: wrap; gap: .5rem }
button, select { font: inherit; color: inherit; background: var(--surface) }
button, select { border: 1px solid var(--line); border-radius: 7px; padding: .4rem .8rem }
button { cursor: pointer; text-align: left }
.holds button { display: grid; align-content: start }
button[aria-pressed="true"] { background: var(--accent); color: var(--on); border-color: var(--accent) }
button[aria-pressed="true"] small { color: inherit }
kbd { font: inherit; font-size: .8125rem; border: 1px solid currentColor; border-radius: 4px; padding: 0 .35rem }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px }
.wide { overflow-x: auto }
table { border-collapse: collapse; white-space: nowrap; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .8rem .2rem 0; text-align: left }
thead th { color: var(--muted); font-weight: 400; border-bottom: 1px solid var(--line) }
code { font-size: .875rem }
`;
