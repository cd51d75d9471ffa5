/**
 * The videos of this browser, in the origin's private storage: one file each, written as a whole or not at all. A file is the length of
 * its head (uint32, little-endian), the head (JSON), a picture of it (PNG), and its frames (RGBA, one after the other, gzipped).
 */
import { CogwheelError } from "../src/base/errors.ts";
import { isObject } from "../src/base/json-scan.ts";
import type { RgbaFrame } from "../src/index.ts";
import type { KeptVideo } from "./protocol.ts";

const FOLDER = "cogwheel-videos";
const NAME = /^\d{15}-[0-9a-f]{8}$/;
/** Of videos, and of bytes in them: the oldest go first. The newest stays, however large it is. */
const MOST = 50;
const MOST_BYTES = 2e9;
/** The longer side of a picture, in pixels. */
const THUMBNAIL = 160;

/** What a file's head says, beside where its parts are. */
type Head = Omit<KeptVideo, "id" | "thumbnail">;

async function folder(create: boolean): Promise<FileSystemDirectoryHandle | null> {
  const root = await navigator.storage.getDirectory();
  return await root.getDirectoryHandle(FOLDER, { create }).catch((error: unknown) => {
    if (error instanceof DOMException && error.name === "NotFoundError") return null;
    throw error;
  });
}

/** The files of whole videos, the newest first. */
async function files(): Promise<File[]> {
  const found: File[] = [];
  const from = await folder(false);
  if (from)
    for await (const handle of from.values())
      if (handle.kind === "file" && NAME.test(handle.name)) {
        // One that another tab removes meanwhile is not there any more; one that is still written has no bytes yet.
        const file = await (handle as FileSystemFileHandle).getFile().catch(() => null);
        if (file && file.size > 0) found.push(file);
      }
  return found.sort((a, b) => (a.name < b.name ? 1 : -1));
}

interface Opened {
  kept: KeptVideo;
  made: object;
  /** Where the frames begin. */
  at: number;
}

async function open(file: File): Promise<Opened | null> {
  const length = new DataView(await file.slice(0, 4).arrayBuffer()).getUint32(0, true);
  const head: unknown = JSON.parse(await file.slice(4, 4 + length).text());
  if (!isObject(head) || head["layout"] !== 1) return null;
  const { layout: _, made, picture, ...rest } = head as Record<string, unknown> & { made: object; picture: number };
  const at = 4 + length + picture;
  const thumbnail = file.slice(at - picture, at, "image/png");
  return { kept: { ...(rest as unknown as Head), id: file.name, thumbnail }, made, at };
}

/** All videos that are kept, the newest first. What cannot be read is left out. */
export async function keptVideos(): Promise<KeptVideo[]> {
  const opened = await Promise.all((await files()).map((file) => open(file).catch(() => null)));
  return opened.flatMap((one) => (one ? [one.kept] : []));
}

/** A kept video with its frames, and what its files say that it was made with. */
export async function recall(id: string): Promise<{ kept: KeptVideo; frames: RgbaFrame[]; made: object }> {
  const gone = (why: string): CogwheelError =>
    new CogwheelError("video", `a video must be kept in this browser to be shown again, got ${why}; make it again with its settings`);
  const file = (await files()).find(({ name }) => name === id);
  if (!file) throw gone("one that was removed, maybe in another tab");
  const opened = await open(file).catch(() => null);
  if (!opened) throw gone("a file that cannot be read");
  const { kept, made, at } = opened;
  const { width, height, count } = kept;
  const stream = file.slice(at).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = await new Response(stream).arrayBuffer().catch(() => new ArrayBuffer(0));
  const each = 4 * width * height;
  if (bytes.byteLength !== count * each) throw gone("a file that is damaged");
  const frames = Array.from({ length: count }, (_, i) => ({ width, height, data: new Uint8Array(bytes, i * each, each) }));
  return { kept, frames, made };
}

/** Removes these videos, or all. */
export async function forgetVideos(ids?: readonly string[]): Promise<void> {
  const from = await folder(false);
  if (!from) return;
  const names = [...(ids ?? [])];
  if (!ids) for await (const name of from.keys()) names.push(name);
  // Another tab may be faster.
  for (const name of names) await from.removeEntry(name).catch(() => undefined);
}

/** Keeps a video; older ones make room for it. */
export async function keepVideo(head: Head, frames: readonly RgbaFrame[], made: object): Promise<KeptVideo> {
  const id = `${String(Date.now()).padStart(15, "0")}-${Math.floor(Math.random() * 2 ** 32)
    .toString(16)
    .padStart(8, "0")}`;
  const picture = await thumbnailOf(frames[frames.length >> 1]!);
  const text = new TextEncoder().encode(JSON.stringify({ layout: 1, ...head, made, picture: picture.size }));
  const start = new Blob([Uint32Array.of(text.length), text, picture]);
  for (;;) {
    try {
      await write(id, start, frames);
      break;
    } catch (error) {
      await forgetVideos([id]);
      const oldest = error instanceof DOMException && error.name === "QuotaExceededError" ? (await files()).at(-1) : undefined;
      if (!oldest) throw error;
      await forgetVideos([oldest.name]);
    }
  }
  let bytes = 0;
  const after = (await files()).filter(({ size }, i) => {
    bytes += size;
    return i > 0 && (i >= MOST || bytes > MOST_BYTES);
  });
  await forgetVideos(after.map(({ name }) => name));
  return { ...head, id, thumbnail: picture };
}

async function write(id: string, start: Blob, frames: readonly RgbaFrame[]): Promise<void> {
  const handle = await (await folder(true))!.getFileHandle(id, { create: true });
  const writable = await handle.createWritable();
  await writable.write(start);
  const bytes = new Blob(frames.map(({ data }) => data as Uint8Array<ArrayBuffer>));
  // Closes the file, which is when its content is there, as a whole.
  await bytes.stream().pipeThrough(new CompressionStream("gzip")).pipeTo(writable);
}

/** A frame, no larger than it need be. */
async function thumbnailOf({ width, height, data }: RgbaFrame): Promise<Blob> {
  const image = await createImageBitmap(new ImageData(new Uint8ClampedArray(data), width, height));
  const scale = Math.min(1, THUMBNAIL / Math.max(width, height));
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
  const context = canvas.getContext("2d")!;
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  image.close();
  return await canvas.convertToBlob({ type: "image/png" });
}
