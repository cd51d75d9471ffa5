/** What a published model would take of this GPU: a worker of its own, for it takes seconds to plan, in which the other has work to do. */
import { Gpu } from "../src/index.ts";
import { NAMED_MODELS } from "../src/pipelines/cogvideox/named-models.ts";
import { fitOf, openPublished } from "../src/pipelines/cogvideox/published-fit.ts";
import { publishedModels } from "../src/pipelines/cogvideox/published-models.ts";
import type { FitAnswer } from "./protocol.ts";

async function answer(id: string): Promise<FitAnswer> {
  const named = NAMED_MODELS.find((model) => model.id === id)!;
  try {
    await using gpu = await Gpu.open();
    await using model = await openPublished(named.alias, publishedModels[named.published], gpu);
    return { id, ...fitOf(model) };
  } catch (error) {
    return { id, refused: (error as Error).message };
  }
}

self.onmessage = async ({ data }: MessageEvent<string>) => self.postMessage(await answer(data));
