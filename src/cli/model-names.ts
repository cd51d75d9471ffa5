/** Short names of the published models, as `--model` and other places where a model is named take them. */
import { existsSync } from "node:fs";
import { NAMED_MODELS } from "../pipelines/cogvideox/named-models.ts";

/** The repository that a short name stands for; everything else as it is. A folder of that name comes first. */
export function modelNamed(name: string): string {
  const found = NAMED_MODELS.find(({ alias }) => alias === name.toLowerCase());
  return found && !existsSync(name) ? found.id : name;
}
