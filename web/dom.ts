/** The few things that every panel does with the page. */
import { shortenedLines } from "../src/base/visible.ts";

/** The element of this id; the page is ours, so it is there. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

/** A table's head and rows, as text; figures stand below their heads. */
export function fillTable(table: HTMLTableElement, head: readonly string[], rows: readonly (readonly Cell[])[]): void {
  const line = (tag: "th" | "td", cells: readonly Cell[]): HTMLTableRowElement => {
    const row = document.createElement("tr");
    for (const cell of cells) {
      const { text, name } = typeof cell === "string" ? { text: cell, name: "" } : cell;
      const element = document.createElement(tag);
      element.textContent = shortenedLines(text);
      if (name) element.className = name;
      if (tag === "th") element.scope = "col";
      row.append(element);
    }
    return row;
  };
  const heads = head.map((text, i) => {
    const below = rows[0]?.[i];
    return { text, name: typeof below === "object" && below.name === "number" ? "number" : "" };
  });
  table.tHead!.replaceChildren(line("th", heads));
  table.tBodies[0]!.replaceChildren(...rows.map((row) => line("td", row)));
  table.hidden = rows.length === 0;
}
export type Cell = string | { text: string; name: string };

/** A button that destroys something: the first press asks, the second does it; going elsewhere takes the question back. */
export function twice(button: HTMLButtonElement, question: string, act: () => void | Promise<void>): void {
  const text = button.textContent!;
  const reset = (): void => {
    button.textContent = text;
    button.classList.remove("ask");
  };
  button.addEventListener("blur", reset);
  button.addEventListener("click", () => {
    if (button.classList.contains("ask")) {
      reset();
      void act();
    } else {
      button.textContent = question;
      button.classList.add("ask");
    }
  });
}

/** Saves a file as the browser does with a download. */
export function download(blob: Blob, name: string): void {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
