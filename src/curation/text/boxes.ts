/**
 * How much of a picture text takes, from what a DB text detector says of it (Liao et al. 2020, arXiv:1911.08947): a map of how probably
 * each pixel lies in the core of a line of text. Cores are found, grown to whole lines as the paper grows them, and their area is counted
 * once. Boxes are upright, which makes slanted lines a little larger than they are.
 */

/** Pixels of the longer side that detectors look at. */
export const DETECTOR_LONGEST = 960;
/** PaddleOCR's values. */
const CORE = 0.3;
const SURE = 0.6;
const GROWTH = 1.5;
/** Pixels of a core's shorter side at least. */
const LEAST = 3;

/** @param map probabilities, row by row @returns share of the picture, 0 to 1 */
export function textShare(map: Float32Array, width: number, height: number): number {
  const seen = new Uint8Array(width * height);
  const covered = new Uint8Array(width * height);
  const stack: number[] = [];
  for (let start = 0; start < map.length; start++) {
    if (seen[start] || map[start]! <= CORE) continue;
    let [left, right, top, bottom, sum, count] = [width, 0, height, 0, 0, 0];
    seen[start] = 1;
    stack.push(start);
    while (stack.length) {
      const at = stack.pop()!;
      const [x, y] = [at % width, Math.floor(at / width)];
      [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
      sum += map[at]!;
      count++;
      for (const next of [x > 0 ? at - 1 : -1, x + 1 < width ? at + 1 : -1, at - width, at + width])
        if (next >= 0 && next < map.length && !seen[next] && map[next]! > CORE) {
          seen[next] = 1;
          stack.push(next);
        }
    }
    const [w, h] = [right - left + 1, bottom - top + 1];
    if (Math.min(w, h) < LEAST || sum / count < SURE) continue;
    const grown = Math.round((GROWTH * w * h) / (2 * (w + h)));
    for (let y = Math.max(0, top - grown); y <= Math.min(height - 1, bottom + grown); y++)
      covered.fill(1, y * width + Math.max(0, left - grown), y * width + Math.min(width - 1, right + grown) + 1);
  }
  return covered.reduce((total, one) => total + one, 0) / covered.length;
}
