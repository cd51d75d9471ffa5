/** A data set as the page to label by has it: every clip of the last run with its columns, and pictures of it. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { CogwheelError } from "../../base/errors.ts";
import { isObject } from "../../base/json-scan.ts";
import { framesOf } from "../../curation/caption/frames.ts";
import { COLUMNS_FILE, WORK_FOLDER } from "../../curation/curate-node.ts";
import { decodePictures } from "../../curation/curves/columns.ts";
import { SCORE_NAMES } from "../../curation/measures/scores.ts";
import { LABEL_COLUMNS } from "../../curation/label/labels.ts";
import { TEXT_COLUMNS } from "../../curation/dataset/rows.ts";
import type { ClipColumns } from "../../curation/label/sample.ts";
import { pictureOf } from "../../curation/endpoint/picture.ts";

export interface LabelClip extends ClipColumns {
  readonly name: string;
  readonly kind: "film" | "picture";
  readonly start: number;
  readonly end: number;
  /** Its frames in its film, and the file of the film's curves. */
  readonly from: number;
  readonly to: number;
  readonly curves: string;
}

/** Columns that a person's judgement says something of. */
const JUDGED: readonly string[] = [...LABEL_COLUMNS, ...TEXT_COLUMNS, ...SCORE_NAMES];

export async function readLabelClips(dataset: string): Promise<LabelClip[]> {
  const path = join(dataset, WORK_FOLDER, COLUMNS_FILE);
  const text = await readFile(path, "utf8").catch(() => {
    throw new CogwheelError(
      "label",
      `the first argument must be a data set that \`cogwheel data run\` or \`cogwheel data filter\` made, ` +
        `got ${dataset} without ${path}; ` +
        "run one of them with its --out",
    );
  });
  const clips = text
    .split("\n")
    .filter(Boolean)
    .map((line) => clipOf(dataset, JSON.parse(line) as KeptColumns));
  if (clips.length === 0) throw new CogwheelError("label", `a data set must have clips, got none in ${path}; look at its report`);
  return clips;
}

/** A line of the file, as `Curation.keepColumns` writes it. */
interface KeptColumns extends Pick<LabelClip, "id" | "from" | "to" | "curves"> {
  readonly columns: {
    readonly source: { readonly name: string; readonly start: number; readonly end: number };
    readonly kind: LabelClip["kind"];
  };
}

function clipOf(dataset: string, { id, from, to, curves, columns }: KeptColumns): LabelClip {
  const at = (name: string): unknown =>
    name.split(".").reduce<unknown>((value, part) => (isObject(value) ? value[part] : undefined), columns);
  const { source, kind } = columns;
  return {
    id,
    name: source.name,
    kind,
    start: source.start,
    end: source.end,
    from,
    to,
    curves: join(dataset, WORK_FOLDER, "curves", curves),
    values: Object.fromEntries(JUDGED.map((name) => [name, at(name)]).filter(([, value]) => typeof value === "number" || value === null)),
  };
}

/** Pictures of a clip. */
const PICTURES = 6;
const LONGEST = 480;
/** Clips whose pictures are kept. */
const KEPT = 16;

export class ClipPictures {
  readonly #kept = new Map<string, Promise<Uint8Array[]>>();
  constructor(readonly dataset: string) {}

  /** JPEGs, in order of time: of the clip's file, or small ones where it was dropped before there was one. */
  of(clip: LabelClip): Promise<Uint8Array[]> {
    const found = this.#kept.get(clip.id);
    if (found) return found;
    const made = this.#read(clip);
    this.#kept.set(clip.id, made);
    made.catch(() => this.#kept.delete(clip.id)); // the next one that asks may find it
    for (const id of this.#kept.keys()) if (this.#kept.size > KEPT) this.#kept.delete(id);
    return made;
  }

  async #read(clip: LabelClip): Promise<Uint8Array[]> {
    const bytes = await this.#bytesOf(clip.id);
    if (bytes) {
      const most = clip.kind === "picture" ? 1 : PICTURES;
      const rate = most / Math.max(clip.end - clip.start, 0.1);
      const frames = await framesOf(bytes, { rate, most, longest: LONGEST, name: clip.name });
      return await Promise.all(frames.map(({ frame }) => pictureOf(frame, { longest: LONGEST })));
    }
    const all = decodePictures(new Uint8Array(await readFile(clip.curves)), clip.curves);
    const inside = all.filter(({ frame }) => frame >= clip.from && frame < clip.to);
    const middle = (clip.from + clip.to) / 2;
    const near = all.toSorted((a, b) => Math.abs(a.frame - middle) - Math.abs(b.frame - middle)).slice(0, 1);
    return (inside.length ? inside : near).slice(0, PICTURES).map(({ jpeg }) => jpeg);
  }

  async #bytesOf(id: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const names = (await readdir(join(this.dataset, "videos")).catch(() => [])).filter((name) => name.startsWith(`${id}.`));
    for (const path of [join(this.dataset, WORK_FOLDER, "clips", id), ...names.map((name) => join(this.dataset, "videos", name))]) {
      const bytes = await readFile(path).catch(() => undefined);
      if (bytes) return new Uint8Array(bytes);
    }
    return undefined;
  }
}
