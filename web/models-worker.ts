/** What can be chosen as a model, and what fetching one would take. */
import { neededFiles } from "../src/checkpoint/needed-files.ts";
import { openSource, storedCheckpoints } from "../src/index.ts";
import { components } from "../src/pipelines/cogvideox/components.ts";
import { NAMED_MODELS } from "../src/pipelines/cogvideox/named-models.ts";
import { publishedBytes } from "../src/pipelines/cogvideox/published-fit.ts";
import { publishedModels, type PublishedModel } from "../src/pipelines/cogvideox/published-models.ts";
import type { Fetched, OfferedModel } from "./protocol.ts";

/** The published models. */
export const offeredModels = (): OfferedModel[] =>
  NAMED_MODELS.map(({ id, published, makes, licence }) => {
    const model: PublishedModel = publishedModels[published];
    return { id, title: model.title, makes, licence, bytes: publishedBytes(model) };
  });

/** How much is to be fetched of a model, where this browser may have some of it. Reads its configs, and no weights. */
export async function lookAt(name: string): Promise<Fetched> {
  const kept = (await storedCheckpoints().catch(() => [])).find((one) => one.name === name);
  if (kept?.whole) return { bytes: 0 };
  await using source = await openSource(name);
  const { files } = await neededFiles(source, { only: Object.keys(components), family: "CogVideoX" });
  const sizes = await Promise.all(files.map((path) => source.size(path)));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  return { bytes: Math.max(0, total - (kept?.bytes ?? 0)) };
}
