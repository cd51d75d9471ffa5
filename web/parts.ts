/** Files that a visitor puts in the place of a model's parts. */
import { byId } from "./dom.ts";
import type { PartFiles } from "./protocol.ts";

/** @param onChange another file was chosen, or the model's own again */
export function partFiles(onChange: () => void): () => PartFiles {
  const box = byId("parts");
  const clear = byId("parts-clear");
  const inputs = [...box.querySelectorAll<HTMLInputElement>("input[data-part]")];
  const files = (): PartFiles =>
    Object.fromEntries(inputs.flatMap(({ dataset, files }) => (files?.[0] ? [[dataset["part"], files[0]]] : [])));
  const changed = (): void => {
    clear.hidden = inputs.every(({ files }) => !files?.length);
    onChange();
  };
  box.addEventListener("change", changed);
  clear.addEventListener("click", () => {
    for (const input of inputs) input.value = "";
    changed();
  });
  return files;
}
