/** CogVideoX, as `families.ts` lists it: 2B, 5B and 1.5, from text, images and videos, with control and inpainting. */
import type { Family } from "../family.ts";
import { publishedGraphs } from "./published.ts";
import { RECORDED, replay } from "./replay.ts";

export const cogvideox: Family = {
  published: publishedGraphs,
  recorded: Object.keys(RECORDED),
  replay,
};
