/** Frames → a file, a folder of pictures, or the bytes of a file. */
import { checkWritable, openOutput } from "#platform";
import { CogwheelError } from "../base/errors.ts";
import type { FormatOptions, VideoFormat } from "./formats.ts";
import { checkedFrames, type Frames } from "./frame.ts";

export type EncodeOptions = Omit<FormatOptions, "format">;

/** A file of one of the formats, or a folder of `frame-0001.png` … */
export type OutputFormat = VideoFormat | "folder";

/** What a path asks for: by its ending, or a folder where it has none or ends in a slash. */
export function formatOf(path: string): OutputFormat {
  if (path === "")
    throw new CogwheelError(
      "output",
      "the output must have a name, got an empty one; give --out a file (.mp4 .webm .gif .png) or a folder",
      { code: "invalid-request" },
    );
  if (/[\\/]$/.test(path) || /(^|[\\/])\.{1,2}$/.test(path)) return "folder";
  const ending = /[^\\/.][^\\/]*?\.([^\\/.]*)$/.exec(path)?.[1]?.toLowerCase();
  if (ending === undefined) return "folder";
  if (ending === "mp4" || ending === "webm" || ending === "gif" || ending === "png") return ending;
  throw new CogwheelError(
    "output",
    "the output must end in .mp4, .webm, .gif or .png, or be a folder for one PNG a frame, " +
      `got "${path}"; for a folder of that name end it with a slash`,
    { code: "invalid-request" },
  );
}

/**
 * Finds out, before hours of work, whether the result will find its place: the ending is known and fits the number of
 * frames, and the folder is there, or can be made, and can be written. Leaves nothing behind.
 */
export async function checkOutput(path: string, { frames }: { frames?: number } = {}): Promise<OutputFormat> {
  const format = formatOf(path);
  if (format === "png" && frames !== undefined && frames !== 1) {
    throw new CogwheelError(
      "output",
      `a .png holds one picture, got ${frames} frames for "${path}"; ` +
        "choose .mp4, .webm, .gif or a folder, or make a picture with --frames 1",
    );
  }
  await checkWritable(path, format === "folder" ? "folder" : "file");
  return format;
}

/**
 * Encodes frames. With a `path` (Node) it writes a file, or a folder, in the format that the path asks for, and returns the
 * full path: what was there before is replaced at the end, and when anything fails, or `signal` aborts, it is still there and
 * nothing else is. With a `format` it returns the bytes of a file.
 *
 * MP4 is H.264 (or VP9, where a browser has no H.264 encoder), WebM is VP9 (or VP8); their width and height must be even.
 * A GIF has one palette of 255 colours and hundredths of a second. A PNG holds one frame, a folder one PNG a frame.
 */
export async function encodeVideo(frames: Frames, options: EncodeOptions & { path: string }): Promise<string>;
export async function encodeVideo(frames: Frames, options: EncodeOptions & { format: VideoFormat }): Promise<Uint8Array<ArrayBuffer>>;
export async function encodeVideo(
  frames: Frames,
  options: EncodeOptions & { path?: string; format?: VideoFormat },
): Promise<string | Uint8Array<ArrayBuffer>> {
  const { path, ...rest } = options;
  const { encodeBytes, encodePng } = await import("./formats.ts"); // many pages never encode
  if (path === undefined) return encodeBytes(frames, rest as FormatOptions);
  const format = formatOf(path);
  await using output = await openOutput(path, format === "folder" ? "folder" : "file");
  if (format === "folder") {
    let number = 0;
    for await (const frame of checkedFrames(frames, options.signal, options.onProgress)) {
      await output.write(await encodePng(frame, options.made), `frame-${String(++number).padStart(4, "0")}.png`);
    }
  } else {
    await output.write(await encodeBytes(frames, { ...rest, format }));
  }
  options.signal?.throwIfAborted();
  await output.commit();
  return output.path;
}
