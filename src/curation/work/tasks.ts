/** What is done with one file, where untrusted bytes may do what they like: in a child process, or in a page's worker. */
import { BlobSource, BufferSource, InputFormat, Source as MediaSource } from "mediabunny";
import { CogwheelError } from "../../base/errors.ts";
import { DEFAULT_LIMITS } from "../../video/read/limits.ts";
import { readMedia } from "../../video/read/read.ts";
import type { ReadContext, ReadFrame } from "../../video/read/reader.ts";
import { type MediaKind, sniff } from "../../video/read/sniff.ts";
import { encodeCurves } from "../curves/columns.ts";
import { curvesOfFilm, curvesOfPictures, type ReadCurves } from "../curves/read.ts";
import { filmFacts } from "../film/facts.ts";
import { shownFrames } from "../film/frames.ts";
import { type OpenFilm, openFilm, packetTimes, refused } from "../film/open.ts";
import { type ShrunkSize, Shrinker, type QuarterTurn } from "../film/shrink.ts";
import type { CutClip, CutSpan, MediaFacts } from "../types.ts";

/** Bytes by which a file's kind is told. */
const HEAD = 4096;

/** A file to work on, by whatever it is read; {@link bytesTaskFile} makes one of bytes. */
export interface TaskFile {
  /** What messages call it. */
  readonly name: string;
  /** Its first kilobytes. */
  head(): Promise<Uint8Array>;
  /** All of it: pictures alone are read so. */
  whole(): Promise<Uint8Array>;
  /**
   * For the demuxer, by range: a `Source` of mediabunny's. Its type is not named here, since that library's types bring others of
   * WebCodecs, which contradict those of TypeScript 5.9: apps shall not need `skipLibCheck`.
   */
  media(): object;
  /** Containers that are read beside MP4, MOV, MKV and WebM: `InputFormat`s of mediabunny's. */
  readonly more?: readonly object[];
}

/** What a file is, from its headers and packets. */
export interface ScanTask {
  readonly task: "scan";
}
/** Numbers of every frame, by decoding all of them once. */
export interface CurvesTask {
  readonly task: "curves";
}
/** A part of a film as a file of its own. */
export interface CutTask {
  readonly task: "cut";
  readonly span: CutSpan;
  /** Whether packets are copied where that can be. */
  readonly copy: boolean;
}
/** SHA-256 of a file; in Node. */
export interface DigestTask {
  readonly task: "digest";
}
/** Every frame at a size that a network looks at, red, green and blue; in Node, for a page there is {@link shrunkFrames}. */
export interface FramesTask {
  readonly task: "frames";
  readonly size: ShrunkSize;
}
export type WorkTask = DigestTask | FramesTask | FileTask;
/** Something to do with one file, by {@link runTask}: tell what a file is, read the curves of its frames, or cut a clip out of it. */
export type FileTask = ScanTask | CurvesTask | CutTask;

/** What the task `curves` gives. */
export interface ScannedCurves {
  /** As {@link encodeCurves} writes them; {@link decodeCurves} reads them. */
  readonly curves: Uint8Array<ArrayBuffer>;
  readonly frames: number;
  /** Seconds from the first picture to the end of the last that could be decoded. */
  readonly end: number;
}

/**
 * Does one task with one file. Untrusted bytes are read here, in this process or page: apart from it, `Curation` does so in Node.
 * @param task `scan` tells what the file is, `curves` reads every frame once, `cut` makes a clip of it
 * @param progress called whenever the work got ahead
 * @returns for `scan` {@link MediaFacts}, for `curves` {@link ScannedCurves}, for `cut` {@link CutClip}. Throws a `CogwheelError` for what
 * is no film or picture that can be read here, with what to do about it
 */
export function runTask(file: TaskFile, task: ScanTask, progress: () => void): Promise<MediaFacts>;
export function runTask(file: TaskFile, task: CurvesTask, progress: () => void): Promise<ScannedCurves>;
export function runTask(file: TaskFile, task: CutTask, progress: () => void): Promise<CutClip>;
export function runTask(file: TaskFile, task: FileTask, progress: () => void): Promise<MediaFacts | ScannedCurves | CutClip>;
export async function runTask(file: TaskFile, task: FileTask, progress: () => void): Promise<MediaFacts | ScannedCurves | CutClip> {
  const kind = await kindOf(file);
  switch (task.task) {
    case "scan":
      return kind === "film" ? await scanFilm(file, progress) : await scanPicture(file, kind, progress);
    case "curves": {
      const { curves, pictures: taken } =
        kind === "film" ? await filmCurves(file, progress) : await curvesOfPictures(pictures(file, progress));
      return { curves: encodeCurves(curves, taken), frames: curves.frames, end: curves.end };
    }
    case "cut":
      return kind === "film" ? await cutFilm(file, task, progress) : await cutPicture(file, kind, task, progress);
  }
}

async function kindOf(file: TaskFile): Promise<MediaKind> {
  const head = await file.head();
  if (head.length === 0)
    throw new CogwheelError("scan", `${file.name} must hold a film or a picture, got 0 bytes; download or copy it again`);
  const kind = sniff(head);
  if (typeof kind === "string") return kind;
  if (file.more?.length && /^an MPEG transport stream/.test(kind.name)) return "film";
  throw new CogwheelError("scan", `${file.name} must be a film or a picture that can be read here, got ${kind.name}; ${kind.remedy}`);
}

async function filmOf(file: TaskFile): Promise<OpenFilm> {
  const source = file.media();
  if (!(source instanceof MediaSource))
    throw new CogwheelError("scan", `media() of ${file.name} must give a source of the demuxer's, got another object; use bytesTaskFile`);
  const formats = file.more?.filter((format) => format instanceof InputFormat);
  return await openFilm(source, file.name, formats);
}

async function scanFilm(file: TaskFile, progress: () => void): Promise<MediaFacts> {
  using film = await filmOf(file);
  try {
    return await filmFacts(film, await packetTimes(film, progress));
  } catch (error) {
    throw refused(error, file.name);
  }
}

async function filmCurves(file: TaskFile, progress: () => void): Promise<ReadCurves> {
  using film = await filmOf(file);
  return await curvesOfFilm(film, await packetTimes(film, progress), progress);
}

/** The frames that {@link CurvesTask} has curves of, upright, each as red, green and blue bytes, row by row. */
export async function* shrunkFrames(
  file: TaskFile,
  size: ShrunkSize,
  progress: () => void,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  const kind = await kindOf(file);
  if (kind !== "film") {
    const shrinker = new Shrinker(size);
    for await (const { data, width, height } of pictures(file, progress))
      yield shrinker.shrink({ kind: "rgba", data: new Uint8Array(data.buffer, data.byteOffset, data.length), width, height });
    return;
  }
  using film = await filmOf(file);
  const { matrix } = await film.track.getColorSpace();
  const colors = { fullRange: film.fullRange, bt709: matrix === "bt709" };
  const shrinker = new Shrinker(size, (await film.track.getRotation()) as QuarterTurn, colors);
  let count = 0;
  try {
    for await (const frame of shownFrames(film, progress)) {
      yield shrinker.shrink(frame.full());
      count++;
    }
  } catch (error) {
    // A film that is cut off has curves up to there too; whether it is whole enough was judged then.
    if (count === 0) throw refused(error, file.name);
  }
}

async function scanPicture(file: TaskFile, kind: MediaKind, progress: () => void): Promise<MediaFacts> {
  let [count, end] = [0, 0];
  let size = { width: 0, height: 0 };
  for await (const { width, height, seconds = 0, duration = 0 } of pictures(file, progress)) {
    size = { width, height };
    end = seconds + duration;
    count++;
  }
  const name = { gif: "GIF", jpeg: "JPEG", png: "PNG", webp: "WebP", film: "" }[kind];
  const film = count > 1;
  return {
    kind: film ? "film" : "picture",
    container: name,
    codec: name,
    ...size,
    rotation: 0,
    fps: film && end > 0 ? Number((count / end).toFixed(4)) : 0,
    variable: film,
    packets: count,
    duration: film ? end : 0,
  };
}

async function* pictures(file: TaskFile, progress: () => void): AsyncGenerator<ReadFrame, void, undefined> {
  yield* readMedia(await file.whole(), contextOf(file.name, progress));
}

const contextOf = (name: string, progress: () => void): ReadContext => ({
  name,
  maxFrames: Number.MAX_SAFE_INTEGER,
  // Nothing of a clip is refused for its length: it was cut to one.
  limits: { ...DEFAULT_LIMITS, bytes: Number.MAX_SAFE_INTEGER },
  warn: () => {},
  progress,
});

/** What writes films is a chunk of its own, for pages that only look at them. */
const cutting = (): Promise<typeof import("../film/cut.ts")> => import("../film/cut.ts");

async function cutFilm(file: TaskFile, { span, copy }: CutTask, progress: () => void): Promise<CutClip> {
  const { copyClip, encodeClip, partAround } = await cutting();
  using film = await filmOf(file);
  try {
    const copied = copy ? await copyClip(film, span) : undefined;
    if (copied) return copied;
    const { file: part, from } = await partAround(film, span);
    progress();
    async function* shown(): AsyncGenerator<ReadFrame, void, undefined> {
      for await (const frame of readMedia(part, contextOf(file.name, progress))) {
        const seconds = from + (frame.seconds ?? 0);
        yield { ...frame, seconds };
      }
    }
    return await encodeClip(file.name, shown(), span, progress);
  } catch (error) {
    throw refused(error, file.name);
  }
}

async function cutPicture(file: TaskFile, kind: MediaKind, { span }: CutTask, progress: () => void): Promise<CutClip> {
  if (span.frames > 1) return await (await cutting()).encodeClip(file.name, pictures(file, progress), span, progress);
  const { width, height } = await scanPicture(file, kind, progress);
  const whole = Uint8Array.from(await file.whole());
  const ending = kind === "png" || kind === "webp" ? kind : "jpg";
  return { file: whole, ending, how: "copied", frames: 1, fps: 0, width, height };
}

/**
 * A film or picture that is in memory, or a `Blob`: what a person picked in a page is read by range then, and a film is never in memory
 * whole.
 * @param name what messages call it
 */
export function bytesTaskFile(name: string, bytes: Uint8Array<ArrayBuffer> | Blob): TaskFile {
  const isBlob = bytes instanceof Blob;
  const read = async (blob: Blob): Promise<Uint8Array> => new Uint8Array(await blob.arrayBuffer());
  return {
    name,
    head: async () => (isBlob ? await read(bytes.slice(0, HEAD)) : bytes.subarray(0, HEAD)),
    whole: async () => (isBlob ? await read(bytes) : bytes),
    media: () => (isBlob ? new BlobSource(bytes) : new BufferSource(bytes)),
  };
}
