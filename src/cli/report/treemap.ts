/** A treemap as SVG: rectangles whose areas are shares of a whole. */
import { escaped } from "../../base/html.ts";
import { colour } from "../../base/report-colours.ts";
import { widePicture } from "./wide.ts";

export interface TreemapItem {
  readonly name: string;
  /** Above 0; what is not is left out. */
  readonly value: number;
  /** What is told where one points at it. */
  readonly title: string;
  /** Items of one group have one colour. */
  readonly group: string;
}

/** Where an item lies. */
export interface TreemapTile {
  readonly item: TreemapItem;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** Rectangles as near to squares as rows of them allow, the largest first: rows grow as long as that makes them squarer. */
export function tiles(items: readonly TreemapItem[], width: number, height: number): TreemapTile[] {
  const sorted = items.filter(({ value }) => value > 0).sort((a, b) => b.value - a.value);
  const total = sorted.reduce((sum, { value }) => sum + value, 0);
  const scale = (width * height) / total;
  const placed: TreemapTile[] = [];
  let [x, y, w, h] = [0, 0, width, height];
  for (let at = 0; at < sorted.length; ) {
    const side = Math.min(w, h);
    let count = 1;
    while (
      at + count < sorted.length &&
      worst(sorted.slice(at, at + count + 1), scale, side) <= worst(sorted.slice(at, at + count), scale, side)
    )
      count++;
    const row = sorted.slice(at, at + count);
    const area = row.reduce((sum, { value }) => sum + value * scale, 0);
    const thick = area / side;
    let along = 0;
    for (const item of row) {
      const length = (item.value * scale) / thick;
      placed.push(
        w >= h ? { item, x, y: y + along, width: thick, height: length } : { item, x: x + along, y, width: length, height: thick },
      );
      along += length;
    }
    if (w >= h) [x, w] = [x + thick, w - thick];
    else [y, h] = [y + thick, h - thick];
    at += count;
  }
  return placed;
}

/** The most elongated of a row's rectangles, along a side. */
function worst(row: readonly TreemapItem[], scale: number, side: number): number {
  const areas = row.map(({ value }) => value * scale);
  const sum = areas.reduce((a, b) => a + b, 0);
  return Math.max(...areas.map((area) => Math.max((side ** 2 * area) / sum ** 2, sum ** 2 / (side ** 2 * area))));
}

const [WIDTH, HEIGHT] = [1120, 420];
/** Pixels of a letter, and of a line of text. */
const [LETTER, LINE] = [6.4, 14];

export function treemap(items: readonly TreemapItem[], label: string): string {
  const groups = [...new Set(items.map(({ group }) => group))];
  const drawn = tiles(items, WIDTH, HEIGHT).map(({ item, x, y, width, height }) => {
    const hue = Math.round((360 * groups.indexOf(item.group)) / groups.length);
    const fits = Math.floor((width - 8) / LETTER);
    const name = item.name.length <= fits ? item.name : `${item.name.slice(0, Math.max(0, fits - 1))}…`;
    const text =
      fits > 4 && height > LINE + 4 ? `<text x="${(x + 4).toFixed(1)}" y="${(y + LINE).toFixed(1)}">${escaped(name)}</text>` : "";
    return (
      `<g class="tile"><title>${escaped(item.title)}</title><rect x="${x.toFixed(1)}" y="${y.toFixed(1)}" width="${width.toFixed(1)}" ` +
      `height="${height.toFixed(1)}" fill="hsl(${hue} 55% ${colour("tile")})" stroke="${colour("page")}"/>${text}</g>`
    );
  });
  return widePicture(WIDTH, HEIGHT, label, drawn);
}
