/** How long captions are, and what they say most often: a model that repeats itself is seen here. */
import { escaped } from "../../base/html.ts";
import { colour } from "../../base/report-colours.ts";
import { contentWords } from "../distill/scores.ts";

const BINS = 20;
const [WIDTH, HEIGHT] = [260, 70];
/** Words that are named. */
const MOST_WORDS = 40;

/** @param captions at least one, and none of them empty */
export function wordsOfCaptions(captions: readonly string[]): string {
  const counts = captions.map((caption) => caption.split(/\s+/).filter(Boolean).length);
  const sorted = counts.toSorted((a, b) => a - b);
  const at = (share: number): number => sorted[Math.floor(share * (sorted.length - 1))]!;
  const wide = Math.max(1, Math.ceil((at(1) + 1) / BINS));
  const bins = new Array<number>(BINS).fill(0);
  for (const count of counts) bins[Math.floor(count / wide)]!++;
  const top = Math.max(...bins);
  const bars = bins.map((count, i) => {
    const height = (HEIGHT * count) / top;
    const place = `x="${(i * WIDTH) / BINS}" y="${(HEIGHT - height).toFixed(1)}" width="${WIDTH / BINS - 1}" height="${height.toFixed(1)}"`;
    return `<rect ${place} fill="${colour("sky")}"><title>${i * wide} to ${(i + 1) * wide - 1} words: ${count}</title></rect>`;
  });
  const often = frequent(captions).map(([word, share]) => `<span>${escaped(word)} <small>${Math.round(100 * share)} %</small></span>`);
  return (
    `<div class="words"><section><b>Words of a caption</b><svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" ` +
    `aria-label="words of a caption">${bars.join("")}</svg><small>${at(0)} to ${at(1)}, half of them up to ${at(0.5)}</small></section>` +
    `<section><b>Words that are in most captions</b><p class="tags">${often.join(" ")}</p></section></div>`
  );
}

/** Words by the share of captions that have them, most often first. */
function frequent(captions: readonly string[]): (readonly [string, number])[] {
  const counts = new Map<string, number>();
  for (const caption of captions) for (const word of contentWords(caption)) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts]
    .sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1))
    .slice(0, MOST_WORDS)
    .map(([word, n]) => [word, n / captions.length] as const);
}
