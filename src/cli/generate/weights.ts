/** Which weights a result was made with. */
import { sha256 } from "../../base/sha256.ts";
import { weightsDigests } from "../../jobs/weights-digest.ts";
import { STAGES } from "../../jobs/stages.ts";
import type { CogVideoX } from "../../pipelines/cogvideox/pipeline.ts";
import type { Again } from "./asked.ts";

const known = new WeakMap<CogVideoX, Promise<string | undefined>>();

/**
 * 16 hexadecimal digits that another config or another training of any part changes: a digest of names, shapes and types, and of 256 bytes
 * of every weight. Undefined for a model that is read over HTTP, where each of these would be a request.
 */
export function weightsOf(model: CogVideoX, signal: AbortSignal): Promise<string | undefined> {
  const before = known.get(model);
  if (before) return before;
  const found = digestOf(model, signal);
  known.set(model, found);
  found.catch(() => known.delete(model)); // the next one reads it again
  return found;
}

async function digestOf({ checkpoint }: CogVideoX, signal: AbortSignal): Promise<string | undefined> {
  if (/^https?:/.test(checkpoint.source.label)) return undefined;
  const digests = await weightsDigests(checkpoint, STAGES, "", signal);
  return (await sha256(new TextEncoder().encode(JSON.stringify(digests)))).slice(0, 16);
}

/** What is told of a result that is made again with other weights. */
export function otherWeights({ file, weights: before }: Again, weights: string | undefined): string | undefined {
  if (before === undefined || weights === undefined || before === weights) return undefined;
  return `${file} was made with other weights (${before}, here ${weights}): the video will differ; give the model and files of that run`;
}
