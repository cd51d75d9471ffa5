/** A picture as wide as a page, which a phone scrolls: shrunk to its width the words in it could not be read. */
import { escaped } from "../../base/html.ts";

/** @param parts of the picture, in SVG @param label what it shows, in words */
export const widePicture = (width: number, height: number, label: string, parts: readonly string[]): string =>
  `<div class="scroll" tabindex="0" role="group" aria-label="${escaped(label)}">` +
  `<svg class="wide" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(label)}">${parts.join("")}</svg></div>`;
