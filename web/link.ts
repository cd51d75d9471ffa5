/** The form's values in the page's address, so that a link makes the same video again. Files are not in it. */
import { LINKED } from "./controls.ts";
import type { FormValues } from "./protocol.ts";

/** Fields that a link may set; anything else in an address is left alone. */
const FIELDS: readonly string[] = ["prompt", ...LINKED, "model", "url"];

/** The part after `#`. */
export function toFragment(values: FormValues): string {
  const search = new URLSearchParams();
  for (const name of FIELDS) if (values[name]) search.set(name, values[name]!);
  const published = /^hub:(.+)$/.exec(values["model"] ?? "")?.[1];
  if (published !== undefined) {
    search.set("model", "url");
    search.set("url", published);
  }
  if (search.get("model") === "embedded") search.delete("model");
  return search.toString();
}

export function fromFragment(hash: string): FormValues {
  const search = new URLSearchParams(hash.replace(/^#/, ""));
  const values: FormValues = {};
  for (const name of FIELDS) {
    const value = search.get(name);
    if (value !== null && value.length <= 4000) values[name] = value;
  }
  // A folder cannot be named by a link, and a URL is opened only when its owner presses the button.
  if (values["model"] !== undefined && values["model"] !== "url") delete values["model"];
  return values;
}
