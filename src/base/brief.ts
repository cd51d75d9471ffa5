/**
 * A value from a file or an app as words for a message, cut so that a hostile one stays short. What JSON cannot say, such as a value
 * that holds itself, is told by its kind.
 */
export function brief(value: unknown): string {
  const text = textOf(value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}

function textOf(value: unknown): string {
  if (value === undefined) return "nothing";
  try {
    return JSON.stringify(value, (_, v: unknown) => (typeof v === "number" && !Number.isFinite(v) ? String(v) : v)) ?? String(value);
  } catch {
    return typeof value !== "object" ? String(value) : Array.isArray(value) ? "a list" : "an object";
  }
}
