/** Comma-separated values as Python's csv and pandas read and write them (RFC 4180, lines end with a line feed). */

/** A table's text; cells that need it are quoted. */
export const csvText = (rows: readonly (readonly (string | number)[])[]): string =>
  rows.map((row) => `${row.map((cell) => quoted(String(cell))).join(",")}\n`).join("");

const quoted = (cell: string): string => (/[",\r\n]|^\s|\s$/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);

/** The cells of a text, row by row. */
export function csvRows(text: string): string[][] {
  const rows: string[][] = [];
  let [row, cell, inside] = [[] as string[], "", false];
  const endCell = (): void => {
    row.push(cell);
    cell = "";
  };
  const endRow = (): void => {
    endCell();
    rows.push(row);
    row = [];
  };
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!;
    if (inside) {
      if (c !== '"') cell += c;
      else if (text[i + 1] === '"') cell += text[++i]!;
      else inside = false;
    } else if (c === '"' && cell === "") inside = true;
    else if (c === ",") endCell();
    else if (c === "\n") endRow();
    else if (c !== "\r") cell += c;
  }
  if (cell !== "" || row.length) endRow();
  return rows;
}
