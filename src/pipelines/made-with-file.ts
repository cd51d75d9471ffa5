/** What a film or a picture says that it was made with. */
import { CogwheelError } from "../base/errors.ts";
import { TASKS, type Task } from "../models/cogvideox/task.ts";
import { commentIn } from "../video/comment.ts";
import type { MadeWith } from "./made-with.ts";
import { isSaved, SAVED_TYPES, type SavedSettings } from "./options/saved.ts";

/**
 * What a film or a picture says that it was made with; undefined where it says nothing. Throws where it says what no version wrote.
 * @param label what errors call the file
 */
export function madeWith(file: Uint8Array, label: string): (SavedSettings & Partial<Pick<MadeWith, "model" | "weights">>) | undefined {
  const said = commentIn(file);
  if (!said) return undefined;
  const { model, weights } = said;
  const settings = Object.fromEntries(Object.entries(said).filter(([name]) => SAVED_TYPES.has(name)));
  for (const [name, value] of Object.entries(settings))
    if (!isSaved(value, SAVED_TYPES.get(name)!) || (name === "task" && !TASKS.includes(value as Task)))
      throw new CogwheelError(
        "video",
        `${label} says that it was made with ${name} ${JSON.stringify(value)}, which must be a ${SAVED_TYPES.get(name)}; ` +
          "give the options themselves",
      );
  return { ...settings, ...(typeof model === "string" ? { model } : {}), ...(typeof weights === "string" ? { weights } : {}) };
}
