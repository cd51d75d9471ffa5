/** Parts of the report's HTML. */
import { escaped } from "../../base/html.ts";

export const tableOf = (rows: readonly (readonly [string, string])[]): string =>
  `<table>${rows.map(([name, value]) => `<tr><th>${escaped(name)}</th><td>${escaped(value)}</td></tr>`).join("")}</table>`;

/** A value within a script. */
export const json = (value: unknown): string => JSON.stringify(value).replaceAll("<", "\\u003c");
