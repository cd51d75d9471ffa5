/** The model families that this engine knows. A new one is a folder in `models/`, a folder here, and a line in this list. */
import { cogvideox } from "./cogvideox/family.ts";
import type { Family } from "./family.ts";

export const families: readonly Family[] = [cogvideox];
