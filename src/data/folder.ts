/**
 * A folder of clips with captions, in the two layouts that trainers share: `metadata.jsonl`, a line of JSON a clip, as Hugging Face's
 * VideoFolder has it; or `prompts.txt` and `videos.txt`, a line of each a clip. Pictures are clips of one frame.
 */
import { listFolder } from "#platform";
import { openSource } from "#files";
import { CogwheelError } from "../base/errors.ts";
import { parseJsonObject } from "../base/json-scan.ts";
import { readText, type CheckpointSource } from "../sources/source.ts";
import { type Columns, parseFilter } from "../curation/filter.ts";

/** A clip and what is said of it. */
export interface ClipRow {
  /** Its path in the folder. */
  readonly file: string;
  readonly caption: string;
  /** All columns of its line, `file_name` and the caption too. */
  readonly columns: Columns;
}

/** A folder of clips with captions, as `openClips` reads it. */
export interface ClipFolder {
  readonly label: string;
  readonly rows: readonly ClipRow[];
  /** What should be told: clips that no caption names. */
  readonly warnings: readonly string[];
  /** A clip's bytes. */
  read(file: string, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>>;
}

/** What a folder may name its columns. */
const CAPTIONS = ["text", "caption", "prompt"];
const METADATA = "metadata.jsonl";
const PROMPTS = "prompts.txt";
const VIDEOS = "videos.txt";
const MEDIA = /\.(mp4|m4v|mov|webm|mkv|gif|png|jpe?g|webp)$/i;
/** So many names of a kind are told. */
const NAMED = 3;
/** A clip is read whole. */
const MOST_BYTES = 2 ** 31;

/**
 * Reads what a folder holds. Throws, with counts and first names, for captions that are missing, too many, twice there or empty.
 * @param from a folder (Node), a URL, or a source such as `filesSource` and `memorySource` give
 */
export const openClips = (from: string | URL | CheckpointSource): Promise<ClipFolder> => openFolder(from, true);

/** The same of clips for a model that reads no captions: they may be empty, and a folder of clips alone will do. */
export const openMedia = (from: string | URL | CheckpointSource): Promise<ClipFolder> => openFolder(from, false);

async function openFolder(from: string | URL | CheckpointSource, captioned: boolean): Promise<ClipFolder> {
  const named = typeof from === "string" || from instanceof URL;
  if (typeof from === "string" && !/^\w+:\/\//.test(from) && (await listFolder(from)) === undefined)
    throw new CogwheelError("data", `the data must be a folder of clips, got none at ${from}; check the path`);
  // A folder's source keeps what it read open: thousands of clips have one each, for as long as they are read.
  const using_ = async <T>(work: (source: CheckpointSource) => Promise<T>): Promise<T> => {
    if (!named) return await work(from);
    await using source = await openSource(from, { anyFile: true });
    return await work(source);
  };
  const read = async (file: string, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> =>
    await using_(async (source) => {
      const size = await source.size(file);
      if (size > MOST_BYTES) throw new CogwheelError("data", `a clip may have 2 GiB, got ${file} of ${size} bytes; cut it into clips`);
      return await source.read(file, 0, size, undefined, signal);
    });
  return await using_(async (source) => {
    const rows = (await source.exists(METADATA))
      ? rowsOfMetadata(await readText(source, METADATA))
      : (await source.exists(PROMPTS)) && (await source.exists(VIDEOS))
        ? rowsOfLists(await readText(source, PROMPTS), await readText(source, VIDEOS))
        : undefined;
    // A server cannot list; clips that are not there are found when they are read.
    const list = await source.list().then(
      (entries) => entries.map(({ path }) => path),
      () => undefined,
    );
    const media = list?.filter((path) => MEDIA.test(path));
    if (!rows && !captioned && media?.length) {
      const all = media.toSorted().map((file) => ({ file, caption: "", columns: { file_name: file } }));
      return { label: source.label, rows: all, read, warnings: [] };
    }
    if (!rows && !captioned)
      throw new CogwheelError(
        "data",
        `a folder must hold films or pictures, or name them in ${METADATA}, got ${source.label} with none; put some there`,
      );
    if (!rows)
      throw new CogwheelError(
        "data",
        `clips must have captions in ${METADATA}, or in ${PROMPTS} beside ${VIDEOS}, got neither in ${source.label}` +
          (media ? `, with ${count(media.length, "clip")}${firstOf(media)}` : "") +
          '; write a line {"file_name": …, "text": …} for each clip',
      );
    return { label: source.label, rows: rows.map(withPath), read, warnings: checkRows(rows.map(withPath), media, source.label, captioned) };
  });
}

/** The rows that an expression over their columns takes; throws where it asks for a column that no row has, or takes none. */
export function filterRows(rows: readonly ClipRow[], expression: string): ClipRow[] {
  const filter = parseFilter(expression);
  const unknown = filter.columns.find((column) => {
    const name = column.startsWith("`") ? column.slice(1, column.indexOf("`", 1)) : column.split(".")[0]!;
    return !rows.some(({ columns }) => Object.hasOwn(columns, name));
  });
  if (unknown !== undefined)
    throw new CogwheelError(
      "data",
      `a filter's columns must be those of the data, got ${unknown}; they have ${columnsOf(rows).join(", ") || "none"}`,
    );
  const taken = rows.filter(({ columns }) => filter.takes(columns));
  if (taken.length === 0)
    throw new CogwheelError("data", `a filter must leave clips to learn from, got none of ${rows.length} by ${expression}; widen it`);
  return taken;
}

const columnsOf = (rows: readonly ClipRow[]): string[] => [...new Set(rows.flatMap(({ columns }) => Object.keys(columns)))].sort();

const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? "" : "s"}`;
const firstOf = (names: readonly string[]): string =>
  names.length ? ` (${names.slice(0, NAMED).join(", ")}${names.length > NAMED ? ", …" : ""})` : "";

/** Paths with slashes, from the folder itself. */
const withPath = (row: ClipRow): ClipRow => ({ ...row, file: row.file.replaceAll("\\", "/").replace(/^(?:\.\/)+/, "") });

function rowsOfMetadata(text: string): ClipRow[] {
  const rows: ClipRow[] = [];
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "") continue;
    const fail = (rule: string, cause?: unknown): CogwheelError =>
      new CogwheelError("data", `line ${i + 1} of ${METADATA} ${rule}; correct the line`, cause === undefined ? {} : { cause });
    const columns = parseJsonObject(i === 0 ? line.replace(/^\uFEFF/, "") : line, fail);
    const file = columns["file_name"];
    if (typeof file !== "string" || file === "") throw fail(`must name its clip in file_name, got ${JSON.stringify(file) ?? "none"}`);
    const name = CAPTIONS.find((one) => Object.hasOwn(columns, one));
    const caption = name === undefined ? "" : columns[name];
    if (typeof caption !== "string") throw fail(`must have a text in ${name}, got ${JSON.stringify(caption).slice(0, 60)}`);
    rows.push({ file, caption, columns });
  }
  return rows;
}

function rowsOfLists(prompts: string, videos: string): ClipRow[] {
  const linesOf = (text: string): string[] => {
    const lines = text.replace(/^\uFEFF/, "").split(/\r?\n/);
    while (lines.length && lines.at(-1)!.trim() === "") lines.pop();
    return lines;
  };
  const [captions, files] = [linesOf(prompts), linesOf(videos)];
  if (captions.length !== files.length) {
    const [more, less] = captions.length > files.length ? [captions, "clip"] : [files, "caption"];
    throw new CogwheelError(
      "data",
      `${PROMPTS} and ${VIDEOS} must have as many lines, got ${count(captions.length, "caption")} and ${count(files.length, "clip")}; ` +
        `the first without a ${less} is line ${Math.min(captions.length, files.length) + 1}: ` +
        JSON.stringify(more[Math.min(captions.length, files.length)]!.slice(0, 80)),
    );
  }
  return files.map((line, i) => {
    const [file, caption] = [line.trim(), captions[i]!.trim()];
    return { file, caption, columns: { file_name: file, prompt: caption } };
  });
}

/** Throws where captions and clips do not belong together; tells clips without a caption. */
function checkRows(rows: readonly ClipRow[], media: readonly string[] | undefined, label: string, captioned: boolean): string[] {
  const seen = new Set<string>();
  const twice = new Set<string>();
  for (const { file } of rows) (seen.has(file) ? twice : seen).add(file);
  const there = media && new Set(media);
  const without = media?.filter((path) => !seen.has(path)) ?? [];
  const wrong: [string, string[]][] = [
    ["without a clip", there ? [...seen].filter((file) => !there.has(file)) : []],
    ["for one clip more than once", [...twice]],
    ["empty", !captioned ? [] : rows.filter(({ caption }) => caption.trim() === "").map(({ file }) => file)],
  ];
  const lines = wrong
    .filter(([, files]) => files.length)
    .map(([what, files]) => `${count(files.length, "caption")} ${what}${firstOf(files)}`);
  const missing = `${count(without.length, "clip")} without a caption${firstOf(without)}`;
  if (lines.length)
    throw new CogwheelError(
      "data",
      `every caption must be of one clip and say something, got in ${label} ` +
        `${[...lines, ...(without.length ? [missing] : [])].join("; ")}; ` +
        "correct or remove those lines",
    );
  if (rows.length === 0)
    throw new CogwheelError("data", `a data folder must hold captions, got none in ${label} and ${missing}; write a line for each clip`);
  return without.length ? [`[data] ${missing} in ${label}: left out`] : [];
}
