/** Captions that many clips share: one bad answer of a server, stored for thousands of clips, has spoiled data sets before. */
import { CogwheelError } from "../../base/errors.ts";
import { plain } from "../rules/check.ts";

/** Clips of at least two sources, of which so many are one too many. */
const MOST = 3;
/** Or this share of all. */
const SHARE = 0.01;
const NAMED = 5;

/** A caption, as it first stands, and the clips that have it. */
export interface SharedCaption {
  readonly caption: string;
  readonly ids: readonly string[];
}

/** Captions that more clips share than can be, whatever their case and punctuation; clips of one source may look alike. */
export function sharedCaptions(
  rows: readonly { readonly id: string; readonly caption: string; readonly source: string }[],
): SharedCaption[] {
  const groups = new Map<string, { caption: string; ids: string[]; sources: Set<string> }>();
  for (const { id, caption, source } of rows) {
    const key = plain(caption);
    if (key === "") continue;
    const group = groups.get(key) ?? { caption, ids: [], sources: new Set() };
    group.ids.push(id);
    group.sources.add(source);
    groups.set(key, group);
  }
  const most = Math.max(MOST, Math.floor(SHARE * rows.length));
  return [...groups.values()]
    .filter(({ ids, sources }) => ids.length > most && sources.size > 1)
    .map(({ caption, ids }) => ({ caption, ids }));
}

/** Throws where captions are shared. */
export function expectOwnCaptions(rows: Parameters<typeof sharedCaptions>[0]): void {
  const shared = sharedCaptions(rows);
  if (shared.length)
    throw new CogwheelError(
      "data",
      `a caption must be of its own clip, got ${shared.length} that many clips of several sources share; ` +
        "see what the model was sent and answered, or allow them with --equal-captions",
      {
        lines: shared
          .slice(0, NAMED)
          .map(
            ({ caption, ids }) =>
              `${ids.length} × “${caption.slice(0, 80)}”: ${ids.slice(0, NAMED).join(", ")}${ids.length > NAMED ? " …" : ""}`,
          ),
      },
    );
}
