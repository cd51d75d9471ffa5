/**
 * What a file says of how it was made: a line of JSON in the comment that MP4, WebM and PNG can carry. It stands there as plain letters,
 * so that it is found again without a demuxer, whatever else the file holds.
 */

/** Before the JSON; between the two stands its length. */
const MARK = "Made with Cogwheel. Settings: ";
/** Bytes of JSON; more is no settings. */
const MOST = 65_536;

/** The comment, in ASCII, which every format can hold; undefined where it would be longer than any settings are. */
export function commentOf(made: object): string | undefined {
  const json = JSON.stringify(made).replace(/[^ -~]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`);
  return json.length > MOST ? undefined : `${MARK}${json.length} ${json}`;
}

/** What the last comment of the file says, undefined where there is none. Nothing of it is checked but that it is a JSON object. */
export function commentIn(file: Uint8Array): Record<string, unknown> | undefined {
  const mark = new TextEncoder().encode(MARK);
  for (let at = file.lastIndexOf(mark[0]!); at >= 0; at = at > 0 ? file.lastIndexOf(mark[0]!, at - 1) : -1) {
    if (!mark.every((letter, i) => file[at + i] === letter)) continue;
    const rest = new TextDecoder("latin1").decode(file.subarray(at + mark.length, at + mark.length + 6 + MOST));
    const length = /^\d{1,5}(?= )/.exec(rest)?.[0] ?? "";
    const json = rest.slice(length.length + 1, length.length + 1 + Number(length));
    const found = json.length === Number(length) ? parsed(json) : undefined;
    if (found) return found;
  }
  return undefined;
}

function parsed(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
