/**
 * The report of a curation as one file of HTML, which loads nothing from elsewhere: what became of the files, contact sheets of clips that
 * stay and of those that were dropped by each reason, changes of shot along each film, histograms whose thresholds move, duplicates,
 * captions.
 */
import { escaped } from "../../base/html.ts";
import { REPORT_COLOURS } from "../../base/report-colours.ts";
import type { RefusedFile } from "../refused.ts";
import { histograms, type ReportedPart } from "./histograms.ts";
import { tableOf } from "./html.ts";
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
  const lost = Object.entries(dropped).map(([reason, n]) => [reason, String(n)] as const);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${escaped(title)}</title>
<style>
${REPORT_COLOURS}
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1180px; padding: 0 1rem;
  color: var(--text); background: var(--page) }
h1 { font-size: 1.3rem } h2 { font-size: 1.1rem; margin-top: 2rem } table { border-collapse: collapse }
td, th { padding: 2px 12px 2px 0; text-align: left; vertical-align: top } summary { cursor: pointer; margin: .5rem 0 }
.sheet { display: flex; flex-wrap: wrap; gap: 8px } .sheet figure { margin: 0; width: 168px; font-size: 11px; overflow-wrap: anywhere }
svg { display: block } .sheet img { width: 160px; display: block; background: var(--grid); min-height: 60px }
.curves { display: flex; flex-wrap: wrap; gap: 1.5rem } .curves input[type=range] { width: 260px; display: block }
.film { margin: 6px 0 } .film svg { width: 100%; height: 34px } code { overflow-wrap: anywhere }
</style></head><body>
<h1>${escaped(title)}</h1>
${tableOf(Object.entries(facts))}
<h2>clips</h2>
${tableOf([["stay", String(kept)], ...lost])}
${sheets.join("\n")}
${histograms(clips, parts)}
<h2>changes of shot</h2>
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
${captions(clips)}
${refused.length ? `<h2>refused</h2>${tableOf(refused.map(({ path, message }) => [path, message]))}` : ""}
</body></html>
`;
}

const more = (count: number, most: number, what: string): string => (count > most ? `<p>and ${count - most} other ${what}</p>` : "");

export const picture = (jpeg: Uint8Array | undefined): string =>
  jpeg ? `<img loading="lazy" alt="" src="data:image/jpeg;base64,${base64(jpeg)}">` : '<img alt="">';

function base64(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

function figure(clip: ReportedClip): string {
  const scores = Object.entries(clip.scores)
    .map(([name, value]) => `${name} ${value}`)
    .join("\n");
  return (
    `<figure title="${escaped(`${clip.id}\n${scores}${clip.caption ? `\n${clip.caption}` : ""}`)}">${picture(clip.picture)}` +
    `${clip.id}<br>${escaped(clip.name)} ${clip.start.toFixed(1)}–${clip.end.toFixed(1)} s</figure>`
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
  const rows = pairs.slice(0, MOST_PAIRS).map(([a, b]) => `<tr><td>${figure(a)}</td><td>${figure(b)}</td></tr>`);
  return (
    `<h2>duplicates: ${pairs.length}</h2><table class="sheet" style="display:table"><tr><th>first</th><th>looks like it</th></tr>` +
    `${rows.join("")}</table>${more(pairs.length, MOST_PAIRS, "pairs")}`
  );
}

function captions(clips: readonly ReportedClip[]): string {
  const captioned = clips.filter(({ reason, caption }) => reason === undefined && caption !== "");
  if (captioned.length === 0) return "";
  const words = captioned.map(({ caption }) => caption.split(/\s+/).length).sort((a, b) => a - b);
  const at = (share: number): number => words[Math.floor(share * (words.length - 1))]!;
  const rows = captioned
    .slice(0, MOST_CLIPS)
    .map((clip) => `<tr><td>${picture(clip.picture)}</td><td><code>${clip.id}</code><br>${escaped(clip.caption)}</td></tr>`);
  return (
    `<h2>captions: ${captioned.length}</h2><p>words: ${at(0)} to ${at(1)}, half of them up to ${at(0.5)}</p>` +
    `<table class="sheet" style="display:table">${rows.join("")}</table>${more(captioned.length, MOST_CLIPS, "captions")}`
  );
}
