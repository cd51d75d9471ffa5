/** The page for people, without what moves in it (page.ts). */
import { escaped } from "../../base/html.ts";

/** Nothing inside the page runs, and nothing comes from elsewhere. */
export const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src blob:; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const field = (id: string, label: string, more: string): string => `<p><label for="${id}">${label}</label><input id="${id}" ${more}></p>`;

const tabsLink = (address: string): string =>
  `<p><a href="${escaped(address)}">Lend a tab of this browser to the queue</a>: it says what it will do before it begins.</p>\n`;

/** @param tabs the address of the page where a tab becomes a worker, which is on another server */
export const pageOf = (tabs?: string): string => `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Cogwheel: videos</title><link rel="stylesheet" href="serve.css"><link rel="icon" href="icon.svg">
<script type="module" src="serve.js"></script></head><body>
<header><h1>Videos</h1><p id="state" role="status">Loading …</p></header>
<main>
<form id="key-form" hidden><p><label for="key">This server asks for a key</label>
<input id="key" type="password" autocomplete="off" required> <button>Use it</button></p></form>
<form id="make">
<p><label for="prompt">What to show</label><textarea id="prompt" rows="3" required maxlength="100000"></textarea></p>
<details><summary>Settings</summary><div class="settings">
${field("size", "Size", 'placeholder="the model’s" pattern="\\d+x\\d+" title="WIDTHxHEIGHT"')}
${field("num_frames", "Frames", 'type="number" min="1" placeholder="the model’s"')}
${field("num_inference_steps", "Steps", 'type="number" min="1" placeholder="the model’s"')}
${field("guidance_scale", "Guidance", 'type="number" min="0" step="0.5" placeholder="the model’s"')}
${field("seed", "Seed", 'type="number" min="0" placeholder="random"')}
${field("negative_prompt", "What not to show", "")}
${field("input_reference", "A picture to begin with", 'type="file" accept="image/*"')}
</div></details>
<p><button id="submit">Make it</button> <span id="trouble" role="alert"></span></p>
</form>
<ol id="jobs" aria-label="Videos, the newest first"></ol>
<p><button id="more" type="button" hidden>Older ones</button></p>
${tabs === undefined ? "" : tabsLink(tabs)}</main></body></html>
`;

export const ICON = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path d="M4 2l10 6-10 6z" fill="#2f8f7b"/></svg>';

export const STYLE = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; --line: color-mix(in srgb, currentColor 25%, transparent); }
body { max-width: 60rem; margin: 0 auto; padding: 1rem; }
header { display: flex; justify-content: space-between; align-items: baseline; gap: 1rem; flex-wrap: wrap; }
label { display: block; font-weight: 600; }
textarea, input { font: inherit; width: 100%; box-sizing: border-box; padding: 0.4rem; }
button { font: inherit; padding: 0.4rem 0.9rem; cursor: pointer; }
.settings { display: grid; grid-template-columns: repeat(auto-fill, minmax(12rem, 1fr)); gap: 0 1rem; }
#trouble { color: #c0392b; }
@media (prefers-color-scheme: dark) { #trouble { color: #ff8a7a; } }
#jobs { list-style: none; padding: 0; display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem; }
#jobs > li { border: 1px solid var(--line); border-radius: 0.5rem; padding: 0.75rem; overflow-wrap: anywhere; }
#jobs video, #jobs img { width: 100%; border-radius: 0.25rem; }
#jobs progress { width: 100%; }
#jobs p { margin: 0.4rem 0; }
.actions { display: flex; gap: 0.5rem; flex-wrap: wrap; }
.prompt { display: -webkit-box; -webkit-line-clamp: 4; -webkit-box-orient: vertical; overflow: hidden; }
`;
