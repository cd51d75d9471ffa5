/** Files that are dropped anywhere on the page, or pasted: the tab that is open has a use for them. */
import { byId } from "./dom.ts";

/** @param uses by the id of a tab's panel: what it does with files. The data is gone after the first `await`. */
export function pageDrops(uses: Readonly<Record<string, (data: DataTransfer) => void>>): void {
  const veil = byId("veil");
  const panel = (): HTMLElement => document.querySelector<HTMLElement>('[role="tabpanel"]:not([hidden])')!;
  const hasFiles = ({ dataTransfer }: DragEvent): boolean => dataTransfer?.types.includes("Files") ?? false;
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    // Without this a browser would open the file in place of the page, and what is in it would be lost.
    event.preventDefault();
    const words = panel().dataset["drop"];
    if (words === undefined) event.dataTransfer!.dropEffect = "none";
    byId("veil-words").textContent = words ?? "";
    veil.hidden = words === undefined;
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) veil.hidden = true;
  });
  document.addEventListener("drop", (event) => {
    veil.hidden = true;
    if (event.defaultPrevented || !event.dataTransfer || !hasFiles(event)) return;
    event.preventDefault();
    uses[panel().id]?.(event.dataTransfer);
  });
  document.addEventListener("paste", (event) => {
    const data = event.clipboardData;
    const writes = event.target instanceof HTMLElement && event.target.matches("input, textarea");
    // A word processor copies text as a picture too: where somebody writes, the words are meant.
    if (!data || data.files.length === 0 || (writes && data.types.includes("text/plain"))) return;
    event.preventDefault();
    uses[panel().id]?.(data);
  });
}

/** Puts a file into a field, as if it was chosen there. */
export function fillFile(input: HTMLInputElement, file: File | null): void {
  const data = new DataTransfer();
  if (file) data.items.add(file);
  input.files = data.files;
  for (const type of ["input", "change"]) input.dispatchEvent(new Event(type, { bubbles: true }));
}
