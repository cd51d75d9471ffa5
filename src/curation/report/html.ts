/** Parts of the report's HTML. */
import { base64 } from "../../base/base64.ts";
import { escaped } from "../../base/html.ts";

export const tableOf = (rows: readonly (readonly [string, string])[]): string =>
  `<table>${rows.map(([name, value]) => `<tr><th>${escaped(name)}</th><td>${escaped(value)}</td></tr>`).join("")}</table>`;

/** A value within a script. */
export const json = (value: unknown): string => JSON.stringify(value).replaceAll("<", "\\u003c");

export const picture = (jpeg: Uint8Array | undefined): string =>
  jpeg ? `<img loading="lazy" alt="" src="data:image/jpeg;base64,${base64(jpeg)}">` : '<img alt="">';
