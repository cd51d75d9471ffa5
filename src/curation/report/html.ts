/** Parts of the report's HTML. */
import { escaped } from "../../base/html.ts";

export const tableOf = (rows: readonly (readonly [string, string])[]): string =>
  `<table>${rows.map(([name, value]) => `<tr><th>${escaped(name)}</th><td>${escaped(value)}</td></tr>`).join("")}</table>`;

/** A value within a script. */
export const json = (value: unknown): string => JSON.stringify(value).replaceAll("<", "\\u003c");

export const picture = (jpeg: Uint8Array | undefined): string =>
  jpeg ? `<img loading="lazy" alt="" src="data:image/jpeg;base64,${base64(jpeg)}">` : '<img alt="">';

function base64(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}
