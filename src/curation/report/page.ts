/**
 * The report of a curation as one file of HTML, which loads nothing from elsewhere: what became of the files, contact sheets of clips that
 * stay and of those that were dropped by each reason, changes of shot along each film, histograms whose thresholds move, duplicates,
 * captions.
 */
import { escaped } from "../../base/html.ts";
import { colour, REPORT_COLOURS } from "../../base/report-colours.ts";
import type { RefusedFile } from "../refused.ts";
import { histograms, type ReportedPart } from "./histograms.ts";
import { captions } from "./captions.ts";
import { picture, tableOf } from "./html.ts";
import type { ReportedClip } from "./reported.ts";
import { timeline, type ReportedFilm } from "./timeline.ts";

/** What a report's page shows. */
export interface CurationReport {
  readonly title: string;
  /** What was found and told, by name. */
  readonly facts: Readonly<Record<string, string>>;
  readonly films: readonly ReportedFilm[];
  readonly clips: readonly ReportedClip[];
  readonly refused: readonly RefusedFile[];
  /** Clips by what dropped them. */
  readonly dropped: Readonly<Record<string, number>>;
  readonly parts: readonly ReportedPart[];
}

/** Clips of a contact sheet, films of the timelines and pairs of duplicates that are shown. */
const MOST_CLIPS = 120;
const MOST_FILMS = 60;
const MOST_PAIRS = 60;

/** What the colours of timelines say. */
const LEGEND = `<p class="legend">${(
  [
    ["green", "clip that stays"],
    ["amber", "clip that was dropped"],
    ["red", "change of shot"],
  ] as const
)
  .map(([hue, text]) => `<span><i style="background:${colour(hue)}"></i>${text}</span>`)
  .join("")}</p>`;

/** The report's page as HTML. In Node {@link writeCurationReport} makes it of a whole curation. */
export function reportOf({ title, facts, films, clips, refused, dropped, parts }: CurationReport): string {
  const reasons = [undefined, ...Object.keys(dropped)];
  const sheets = reasons.map((reason) => {
    const of = clips.filter((clip) => clip.reason === reason);
    if (of.length === 0) return "";
    const named = reason === undefined ? "clips that stay" : `dropped by ${reason}`;
    return `<details${reason === undefined ? " open" : ""}><summary>${escaped(named)}: ${of.length}</summary>${sheet(of)}</details>`;
  });
  const kept = clips.filter(({ reason }) => reason === undefined).length;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${escaped(title)}</title>
<style>
${REPORT_COLOURS}
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1200px; padding: 1.5rem 1rem 4rem;
  color: var(--text); background: var(--page) }
h1 { font-size: 1.5rem; line-height: 1.2; margin: 0 0 1rem; overflow-wrap: anywhere }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; padding-top: 1.25rem; border-top: 1px solid var(--grid) }
table { border-collapse: collapse } td, th { padding: 3px 16px 3px 0; text-align: left; vertical-align: top; font-weight: normal }
th, .soft, small { color: var(--soft) } td { overflow-wrap: anywhere; font-variant-numeric: tabular-nums }
summary { cursor: pointer; margin: .75rem 0 .5rem } code { overflow-wrap: anywhere } p { margin: .25rem 0 } figure { margin: 0 }
svg, img { display: block; width: 100% } img { background: var(--grid); border-radius: 6px; aspect-ratio: 16/9; object-fit: contain }
.counts td:last-child { width: min(40vw, 320px); padding: 0 }
.counts i { display: block; height: 10px; margin-top: 9px; border-radius: 3px }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px }
.sheet figure, .pairs figure, .frames figure { font-size: 12px; overflow-wrap: anywhere; line-height: 1.35 }
.sheet small, .pairs small { display: block; margin-top: 3px }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(320px, 100%), 1fr)); gap: 12px 24px }
.pairs > div { display: grid; grid-template-columns: 1fr 1fr; gap: 8px }
.curves, .words { margin-top: 12px; display: grid; grid-template-columns: repeat(auto-fill, minmax(min(260px, 100%), 1fr)); gap: 12px }
.words { grid-template-columns: repeat(auto-fit, minmax(min(300px, 100%), 1fr)); margin-bottom: 1rem }
.curves section, .words section { border: 1px solid var(--grid); border-radius: 8px; padding: 10px 12px }
.curves header { display: flex; gap: 6px; align-items: center; margin-bottom: 8px } .curves b { flex: 1; overflow-wrap: anywhere }
.curves input[type=number] { width: 6.5em } .curves input, .curves select { font: inherit; font-size: 13px }
.curves svg { height: 90px; cursor: ew-resize; touch-action: pan-y; user-select: none } .words svg { height: 70px; margin: 8px 0 4px }
.curves input[type=range] { width: 100%; margin: 4px 0 0; display: block } .ends { display: flex; justify-content: space-between }
.tags span { display: inline-block; margin: 2px 10px 2px 0; white-space: nowrap }
.film { margin: 10px 0 } .film svg { height: 36px } .legend span { margin-right: 16px; white-space: nowrap }
.legend i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; vertical-align: -1px; margin-right: 6px }
.captioned { display: grid; grid-template-columns: 200px 1fr; gap: 4px 16px; padding: 14px 0; border-top: 1px solid var(--grid) }
.frames { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px }
.mark { display: block; color: var(--red) }
@media (max-width: 600px) { .captioned { grid-template-columns: 1fr } .sheet { grid-template-columns: 1fr 1fr } }
</style></head><body>
<h1>${escaped(title)}</h1>
${tableOf(Object.entries(facts))}
<h2>Clips</h2>
${countsOf(kept, dropped)}
${sheets.join("\n")}
${histograms(clips, parts)}
<h2>Changes of shot</h2>
${LEGEND}
${films
  .slice(0, MOST_FILMS)
  .map((film, i) =>
    timeline(
      film,
      clips.filter((clip) => clip.film === i),
    ),
  )
  .join("\n")}
${more(films.length, MOST_FILMS, "films")}
${duplicates(clips)}
${captions(clips.filter(({ reason, caption }) => reason === undefined && caption !== ""))}
${refused.length ? `<h2>Refused</h2>${tableOf(refused.map(({ path, message }) => [path, message]))}` : ""}
</body></html>
`;
}

const more = (count: number, most: number, what: string): string => (count > most ? `<p>and ${count - most} other ${what}</p>` : "");

/** What stays and what each reason drops, as numbers and as bars. */
function countsOf(kept: number, dropped: Readonly<Record<string, number>>): string {
  const rows = [["stay", kept, "green"] as const, ...Object.entries(dropped).map(([reason, n]) => [reason, n, "amber"] as const)];
  const all = Math.max(1, ...rows.map(([, n]) => n));
  const row = ([name, n, hue]: (typeof rows)[number]): string =>
    `<tr><th>${escaped(name)}</th><td>${n}</td>` +
    `<td><i style="width:${((100 * n) / all).toFixed(1)}%;background:${colour(hue)}"></i></td></tr>`;
  return `<table class="counts">${rows.map(row).join("")}</table>`;
}

function figure(clip: ReportedClip): string {
  const scores = Object.entries(clip.scores)
    .map(([name, value]) => `${name} ${value}`)
    .join("\n");
  return (
    `<figure title="${escaped(`${clip.id}\n${scores}${clip.caption ? `\n${clip.caption}` : ""}`)}">${picture(clip.picture)}` +
    `<small><code>${clip.id}</code><br>${escaped(clip.name)} ${clip.start.toFixed(1)}–${clip.end.toFixed(1)} s</small></figure>`
  );
}

/** Where there are more than are shown, they are taken evenly. */
function sheet(clips: readonly ReportedClip[]): string {
  const step = Math.max(1, clips.length / MOST_CLIPS);
  const shown = Array.from({ length: Math.min(MOST_CLIPS, clips.length) }, (_, i) => clips[Math.floor(i * step)]!);
  return `<div class="sheet">${shown.map(figure).join("")}</div>${more(clips.length, MOST_CLIPS, "clips")}`;
}

function duplicates(clips: readonly ReportedClip[]): string {
  const byId = new Map(clips.map((clip) => [clip.id, clip]));
  const pairs = clips.flatMap((clip) => {
    const first = clip.duplicateOf === undefined ? undefined : byId.get(clip.duplicateOf);
    return first ? [[first, clip] as const] : [];
  });
  if (pairs.length === 0) return "";
  const rows = pairs.slice(0, MOST_PAIRS).map(([a, b]) => `<div>${figure(a)}${figure(b)}</div>`);
  return (
    `<h2>Duplicates: ${pairs.length}</h2><p class="soft">Beside each first one, what looks like it.</p>` +
    `<div class="pairs">${rows.join("")}</div>${more(pairs.length, MOST_PAIRS, "pairs")}`
  );
}
