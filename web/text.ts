/** Figures as the page and its worker write them. */

import { bytesText } from "../src/base/units.ts";
import type { Plan } from "./protocol.ts";

/** What a generation will take, in a line. */
export function planText({ bytes, times }: Plan): string {
  const memory = `Takes ${bytesText(bytes)} of the GPU’s memory at its most`;
  if (!times) return `${memory}.`;
  const all = times.reduce((sum, { seconds }) => sum + seconds, 0);
  return `${memory}, and about ${duration(all)}: ${times.map(({ stage, seconds }) => `${stage} ${duration(seconds)}`).join(", ")}.`;
}

export function duration(seconds: number): string {
  if (seconds < 100) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
