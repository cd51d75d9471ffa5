/** The few things that every panel does with the page. */
import { shortenedLines } from "../src/base/visible.ts";

/** The element of this id; the page is ours, so it is there. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

/** Makes an element a place to drop files on. */
export function dropZone(element: HTMLElement, onDrop: (data: DataTransfer) => void): void {
  const over = (on: boolean) => element.classList.toggle("over", on);
  element.addEventListener("dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  element.addEventListener("dragleave", () => over(false));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    if (event.dataTransfer) onDrop(event.dataTransfer);
  });
}

/** A table's head and rows, as text. */
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
  table.tHead!.replaceChildren(line("th", head));
  table.tBodies[0]!.replaceChildren(...rows.map((row) => line("td", row)));
  table.hidden = rows.length === 0;
}
export type Cell = string | { text: string; name: string };
