/** Keys of the panel that generates: Ctrl or ⌘ with Enter makes the video, Escape stops it, Space plays and pauses it. */
import { byId } from "./dom.ts";

export function keys(form: HTMLFormElement): void {
  const panel = byId("panel-generate");
  const press = (id: string): boolean => {
    const button = byId<HTMLButtonElement>(id);
    if (!button.checkVisibility()) return false;
    button.click();
    return true;
  };
  document.addEventListener("keydown", (event) => {
    if (panel.hidden || event.defaultPrevented || event.isComposing) return;
    const { key, target } = event;
    if (key === "Enter" && (event.ctrlKey || event.metaKey)) {
      // A held key asks once.
      if (!event.repeat) form.requestSubmit();
      event.preventDefault();
    } else if (key === "Escape") press("cancel");
    else if (key === " " && target instanceof HTMLElement && !target.matches("a, button, input, select, textarea, summary")) {
      if (press("play") || press("sample-play")) event.preventDefault();
    }
  });
}
