/** Rows of a data set as exports take them: `metadata.jsonl`, line by line, checked. */
import { CogwheelError } from "../../base/errors.ts";
import { parseJsonObject } from "../../base/json-scan.ts";
import { digest } from "../ledger/key.ts";

/** A clip or a picture with its caption. */
export interface DatasetSample {
  /** Names files of the target: letters, digits, dashes; unique. */
  readonly id: string;
  /** Its path in the data set. */
  readonly file: string;
  /** Of the file's name, with the dot, in lower case. */
  readonly ending: string;
  /** One line, not empty. */
  readonly caption: string;
  readonly kind: "video" | "image";
  readonly width: number | undefined;
  readonly height: number | undefined;
  readonly fps: number | undefined;
  readonly frames: number | undefined;
  /** What must not be in two splits: the source's hash or name, else the clip itself. */
  readonly source: string;
  /** All columns of the line. */
  readonly columns: Readonly<Record<string, unknown>>;
}

const CAPTIONS = ["caption", "text", "prompt"];
const MEDIA = /\.(mp4|m4v|mov|webm|mkv|gif|png|jpe?g|webp)$/i;
const PICTURE = /\.(png|jpe?g|webp)$/i;
/** Names that are told of many. */
const NAMED = 3;

/** Reads `metadata.jsonl`. Throws for rows without a caption, files that are named twice, and what is no clip. */
export function samplesOf(metadata: string): DatasetSample[] {
  const samples: DatasetSample[] = [];
  const uncaptioned: string[] = [];
  const [files, ids] = [new Set<string>(), new Set<string>()];
  for (const [i, line] of metadata
    .replace(/^\uFEFF/, "")
    .split(/\r?\n/)
    .entries()) {
    if (line.trim() === "") continue;
    const fail = (rule: string): CogwheelError => new CogwheelError("data", `line ${i + 1} of metadata.jsonl ${rule}; correct the line`);
    const columns = parseJsonObject(line, fail);
    const file = columns["file_name"];
    if (typeof file !== "string" || !MEDIA.test(file) || !isBelow(file))
      throw fail(`must name a film or a picture below its folder in file_name, got ${JSON.stringify(file)?.slice(0, 80)}`);
    if (files.has(file)) throw fail(`must be of a clip of its own, got ${JSON.stringify(file)} once more`);
    files.add(file);
    const name = CAPTIONS.find((one) => typeof columns[one] === "string");
    const caption = oneLine(name === undefined ? "" : (columns[name] as string));
    if (caption === "") uncaptioned.push(file);
    const sample = sampleOf(file, caption, columns, ids);
    ids.add(sample.id);
    samples.push(sample);
  }
  if (uncaptioned.length)
    throw new CogwheelError(
      "data",
      `every clip must have a caption, got ${uncaptioned.length} of ${samples.length} without one: ` +
        `${uncaptioned.slice(0, NAMED).join(", ")}${uncaptioned.length > NAMED ? " …" : ""}; run \`cogwheel data caption\`, or write them`,
    );
  if (samples.length === 0) throw new CogwheelError("data", "a data set must hold clips, got none; look at what was filtered out");
  return samples;
}

const isBelow = (path: string): boolean =>
  !/[\\\0]|^[a-z]:/i.test(path) && path.split("/").every((part) => !["", ".", ".."].includes(part));

/** Trainers read lists line by line. */
export const oneLine = (text: string): string => text.replace(/[\s\u0085\u2028\u2029]+/g, " ").trim();

function sampleOf(file: string, caption: string, columns: Record<string, unknown>, ids: ReadonlySet<string>): DatasetSample {
  const stem = file.split("/").at(-1)!.replace(MEDIA, "");
  // Names of people's files become names that every reader takes: WebDataset ends a key at the first dot.
  const plain = /^[\w-]{1,64}$/.test(stem) && !ids.has(stem);
  const number = (name: string): number | undefined => (typeof columns[name] === "number" ? columns[name] : undefined);
  const source = columns["source"];
  const { sha256, name } = (typeof source === "object" && source !== null ? source : {}) as { sha256?: unknown; name?: unknown };
  const kind = PICTURE.test(file) ? "image" : "video";
  return {
    id: plain ? stem : digest(file).slice(0, 16),
    file,
    ending: MEDIA.exec(file)![0].toLowerCase(),
    caption,
    kind,
    width: number("width"),
    height: number("height"),
    fps: number("fps"),
    frames: number("num_frames") ?? (kind === "image" ? 1 : undefined),
    source: [source, sha256, name].find((one): one is string => typeof one === "string") ?? file,
    columns,
  };
}

/** Throws where the reader takes no files but of these endings. */
export function expectEndings(rows: readonly DatasetSample[], reader: string, endings: readonly string[]): void {
  const others = rows.filter(({ ending }) => !endings.includes(ending));
  if (others.length)
    throw new CogwheelError(
      "data",
      `${reader} reads ${endings.join(", ")} alone, got ${others.length} of others: ` +
        `${others
          .slice(0, NAMED)
          .map(({ file }) => file)
          .join(", ")}; leave them out with --where, or encode them anew`,
    );
}
