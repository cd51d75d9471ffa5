/** The work of `cogwheel cache`. */
import { bytesText } from "../base/units.ts";
import { shortened, visible } from "../base/visible.ts";
import { clearEnhanced, countEnhanced } from "../curation/enhance/kept.ts";
import { bytesIn, clearClipResults, listClipResults } from "../data/store.ts";
import { clearPrompts, listPrompts } from "../pipelines/prompt-cache.ts";
import { print, printJson } from "./terminal/output.ts";
import { table } from "./terminal/table.ts";

/** Characters of a prompt in the list. */
const SHOWN = 60;

const rewrittenText = (count: number): string => `${count} rewritten prompt${count === 1 ? "" : "s"}`;

export async function listCache({ json }: { json?: boolean }): Promise<void> {
  const kept = await listPrompts();
  const training = await listClipResults();
  if (json) {
    const bytes = training && bytesIn(training.files);
    printJson(
      kept
        ? {
            ...kept,
            ...(await enhancedJson()),
            ...(training ? { training: { place: training.place, files: training.files.length, bytes } } : {}),
          }
        : null,
    );
    return;
  }
  if (!kept) {
    print("Nothing can be kept here.");
    return;
  }
  const { place, limitBytes, prompts } = kept;
  if (prompts.length)
    print(
      table(
        ["used", "size", "prompt", "not to show", "model"],
        prompts.map(({ used, bytes, prompts: texts, model }) => [
          used.toISOString().slice(0, 16).replace("T", " "),
          bytesText(bytes, 1),
          // The prompt comes last, the negative one before it where there is one.
          visible(texts.at(-1) ?? "").slice(0, SHOWN),
          visible(texts.length > 1 ? texts[0]! : "").slice(0, SHOWN),
          shortened(visible(model)),
        ]),
      ),
    );
  const bytes = prompts.reduce((sum, one) => sum + one.bytes, 0);
  print(`${prompts.length} kept, ${bytesText(bytes, 1)} of at most ${bytesText(limitBytes)}, in ${visible(place)}`);
  const rewritten = await countEnhanced();
  if (rewritten?.count)
    print(`${rewrittenText(rewritten.count)} (--enhance), ${bytesText(rewritten.bytes, 1)}, in ${visible(rewritten.place)}`);
  if (training?.files.length)
    print(
      `${training.files.length} encoded clips and captions for training, ${bytesText(bytesIn(training.files), 1)}, ` +
        `in ${visible(training.place)}; ` +
        "`cogwheel cache clear --training` forgets them",
    );
}

/** What --enhance left, for a machine to read. */
async function enhancedJson(): Promise<object> {
  const enhanced = await countEnhanced();
  return enhanced?.count ? { enhanced } : {};
}

export async function clearTraining(): Promise<void> {
  const { files, bytes } = await clearClipResults();
  print(`${files} forgotten, ${bytesText(bytes, 1)}`);
}

export async function clearCache(): Promise<void> {
  const { files, bytes } = await clearPrompts();
  const rewritten = await clearEnhanced();
  print(`${files} forgotten, ${bytesText(bytes, 1)}${rewritten ? `, and ${rewrittenText(rewritten)}` : ""}`);
}
