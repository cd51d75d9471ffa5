/** Text in aligned columns. */
import { cut, visible } from "../../base/visible.ts";

/** A number, perhaps with a sign, a unit or a factor: such columns are aligned at their right end. */
const NUMBER = /^([-+~≤≥<>]\s?)?\d[\d,.  ]*(e[-+]?\d+)?(\s?(%|×|[a-zA-Zµ]{1,3}(\/[a-zA-Z]{1,3})?|GFLOP(\/s)?))?$/;
/** What may stand among numbers where there is none. */
const NONE = /^(|-|–|no|none)$/;

/** Characters of a cell. */
const WIDEST = 240;

/** The number of columns that a terminal gives the text, for text without wide characters. */
const width = (text: string): number => [...text].length;

/**
 * The rows under their heads, with a rule between, columns two spaces apart, figures to the right. Ends with a line break, so
 * that printing it leaves an empty line. A cell is one line of what can be seen, and cut where it is very long: names come out of files.
 */
export function table(heads: readonly string[], cells: readonly (readonly string[])[]): string {
  const rows = cells.map((row) => row.map((cell) => cut(visible(cell), WIDEST)));
  const widths = heads.map((head, column) => Math.max(width(head), ...rows.map((row) => width(row[column] ?? ""))));
  const right = heads.map((_, column) => {
    const cells = rows.map((row) => row[column] ?? "");
    return cells.some((cell) => NUMBER.test(cell)) && cells.every((cell) => NUMBER.test(cell) || NONE.test(cell));
  });
  const line = (cells: readonly string[]): string =>
    heads
      .map((_, column) => {
        const cell = cells[column] ?? "";
        const space = " ".repeat(widths[column]! - width(cell));
        return right[column] ? space + cell : cell + space;
      })
      .join("  ")
      .trimEnd();
  return `${[line(heads), widths.map((columns) => "─".repeat(columns)).join("  "), ...rows.map(line)].join("\n")}\n`;
}
