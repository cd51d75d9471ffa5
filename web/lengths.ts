/** How long the video is to be: the lengths that a model can make, each with the time that it will take where that is known. */
import { byId } from "./dom.ts";
import { duration } from "./text.ts";

export interface Lengths {
  /** @param all that the model can make, in frames @param advised the length that it was trained at, which is taken where none is chosen */
  offer(all: readonly number[], advised: number): void;
  /** Says them anew, where the frame rate is another. */
  write(): void;
  /** Those that are offered. */
  offered(): number[];
  /** Seconds that each will take, as far as that is known; `"no"`: there is no room for it. */
  tell(takes: ReadonlyMap<number, number | "no">): void;
}

export function lengths(form: HTMLFormElement): Lengths {
  const select = byId<HTMLSelectElement>("frames");
  const fps = form.elements.namedItem("fps") as HTMLInputElement;
  let takes: ReadonlyMap<number, number | "no"> = new Map();

  function words(frames: number): string {
    const rate = fps.valueAsNumber;
    const long = frames === 1 ? "A picture" : rate > 0 ? `${Number((frames / rate).toFixed(1))} s` : "";
    const count = frames === 1 ? "1 frame" : `${frames} frames`;
    const seconds = takes.get(frames);
    const told = seconds === "no" ? " · no room for it here" : seconds === undefined ? "" : ` · about ${duration(seconds)}`;
    return `${long ? `${long} (${count})` : count}${told}`;
  }
  function write(): void {
    for (const option of select.options) option.textContent = words(Number(option.value));
  }
  const options = (list: readonly number[]): HTMLOptionElement[] => list.map((frames) => new Option("", String(frames)));

  return {
    offer(all, advised) {
      const chosen = Number(select.value);
      const kept = all.includes(chosen) ? chosen : advised;
      const usual = onePerPeriod(all).filter((frames) => frames <= 2 * advised);
      const list = [...new Set([...usual, advised, kept])].sort((a, b) => a - b);
      const longer = Object.assign(document.createElement("optgroup"), { label: "Longer than it was trained at" });
      longer.append(...options(list.filter((frames) => frames > advised)));
      select.replaceChildren(...options(list.filter((frames) => frames <= advised)), longer);
      longer.hidden = longer.children.length === 0;
      takes = new Map();
      write();
      select.value = String(kept);
    },
    write,
    offered: () => [...select.options].map(({ value }) => Number(value)),
    tell(told) {
      takes = told;
      write();
    },
  };
}

/** A decoder makes eight frames more at a time, and one more or none in front: of neighbours the longer. */
const onePerPeriod = (all: readonly number[]): number[] => all.filter((frames) => !all.includes(frames + 1));
