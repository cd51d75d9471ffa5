/**
 * A clip as a file of its own: its packets copied as they are, where it begins at a key frame and nothing outside of it is needed; else its
 * pictures encoded anew, and only they. Both ways give the same bytes each time.
 */
import {
  BufferSource,
  BufferTarget,
  type EncodedPacket,
  EncodedPacketSink,
  EncodedVideoPacketSource,
  Mp4OutputFormat,
  Output,
  WebMOutputFormat,
} from "mediabunny";
import { CogwheelError } from "../../base/errors.ts";
import { encodeBytes } from "../../video/formats.ts";
import type { Frame } from "../../video/frame.ts";
import { clearDates } from "../../video/mp4-dates.ts";
import type { ReadFrame } from "../../video/read/reader.ts";
import type { CutClip, CutSpan } from "../types.ts";
import { openFilm, type OpenFilm } from "./open.ts";

/** Times are equal within a microsecond of rounding in containers of any clock. */
const SAME = 2e-4;

/** Copies packets; undefined where they are not just the clip's, from a key frame on. */
export async function copyClip(film: OpenFilm, { start, end, frames, fps }: CutSpan): Promise<CutClip | undefined> {
  const first = await firstTime(film);
  const sink = new EncodedPacketSink(film.track);
  const key = await sink.getKeyPacket(first + start + SAME, { verifyKeyPackets: true });
  if (!key || Math.abs(key.timestamp - first - start) > SAME) return undefined;
  const packets: EncodedPacket[] = [];
  for await (const packet of sink.packets(key)) {
    const at = packet.timestamp - first;
    if (at < start - SAME || at >= end - SAME) return undefined; // another shot's picture among them
    packets.push(packet);
    if (packets.length === frames) break;
  }
  if (packets.length !== frames) return undefined;
  const { file, ending } = await containerOf(film, packets);
  // What was written is read again: a picture more or less, or one that cannot be decoded, is worse than encoding anew.
  using written = await openFilm(new BufferSource(file), film.name);
  let count = 0;
  for await (const packet of new EncodedPacketSink(written.track).packets(undefined, undefined, { metadataOnly: true }))
    count += packet.timestamp >= -SAME ? 1 : 0;
  if (count !== frames) return undefined;
  const [width, height] = await shownSize(film);
  return { file, ending, how: "copied", frames, fps, width, height };
}

/** The film from the key frame before a clip to a little behind it, as a file in memory: what has to be decoded to have the clip. */
export async function partAround(film: OpenFilm, { start, end }: CutSpan): Promise<{ file: Uint8Array<ArrayBuffer>; from: number }> {
  const first = await firstTime(film);
  const sink = new EncodedPacketSink(film.track);
  const key = (await sink.getKeyPacket(first + start + SAME, { verifyKeyPackets: true })) ?? (await sink.getFirstKeyPacket());
  if (!key) throw new CogwheelError("cut", `${film.name} must have a key frame before ${start} s, got none; convert it to H.264`);
  const packets: EncodedPacket[] = [];
  let behind = 0;
  for await (const packet of sink.packets(key)) {
    packets.push(packet);
    // Pictures are reordered by 16 at most.
    if (packet.timestamp - first >= end && ++behind > 17) break;
  }
  // What is shown before the key frame needs what is not here.
  const shown = packets.filter(({ timestamp }) => timestamp >= key.timestamp);
  return { file: (await containerOf(film, shown)).file, from: key.timestamp - first };
}

/** Encodes pictures anew. @param pictures upright, with their seconds from the source's first one */
export async function encodeClip(
  name: string,
  pictures: AsyncIterable<ReadFrame>,
  { start, end, fps: mean, rate: fps = mean }: CutSpan,
  progress: () => void,
): Promise<CutClip> {
  let count = 0;
  let size = { width: 0, height: 0 };
  // MKV and WebM round times to milliseconds, a rate is rounded too: a picture counts from a quarter of a frame before its time, else one
  // that is told a little late is left out, and the one before it is there twice.
  const early = 0.25 / fps;
  async function* atRate(): AsyncGenerator<Frame, void, undefined> {
    let before: ReadFrame | undefined;
    const until = (seconds: number): boolean => start + count / fps < seconds - early;
    for await (const picture of pictures) {
      progress();
      const seconds = picture.seconds ?? 0;
      while (before && until(Math.min(seconds, end))) yield even(before);
      before = picture;
      if (seconds >= end - SAME) break;
    }
    while (before && until(end)) yield even(before);
  }
  function even(picture: ReadFrame): Frame {
    count++;
    const frame = cropEven(picture);
    size = { width: frame.width, height: frame.height };
    return frame;
  }
  const file = await encodeBytes(atRate(), { format: "mp4", fps, onProgress: progress }).catch((error: unknown) => {
    if (error instanceof CogwheelError)
      throw new CogwheelError("cut", `${name}: ${error.message.replace(/^\[\w+\] /, "")}`, { cause: error });
    throw error;
  });
  return { file, ending: "mp4", how: "encoded", frames: count, fps, ...size };
}

/** H.264 halves chroma: a line too many is cut off. */
function cropEven({ width, height, data }: ReadFrame): Frame {
  const [w, h] = [width & ~1, height & ~1];
  if (w === width) return { width, height: h, data: data.subarray(0, 4 * w * h) };
  const out = new Uint8Array(4 * w * h);
  for (let y = 0; y < h; y++) out.set(data.subarray(4 * y * width, 4 * (y * width + w)), 4 * y * w);
  return { width: w, height: h, data: out };
}

async function firstTime(film: OpenFilm): Promise<number> {
  // An edit list may hide packets before time 0.
  let first = Number.POSITIVE_INFINITY;
  let seen = 0;
  for await (const { timestamp } of new EncodedPacketSink(film.track).packets(undefined, undefined, { metadataOnly: true })) {
    if (timestamp >= -1e-6) {
      first = Math.min(first, timestamp);
      if (++seen > 17) break;
    }
  }
  return first;
}

async function shownSize({ track }: OpenFilm): Promise<[number, number]> {
  const [wide, high] = [await track.getSquarePixelWidth(), await track.getSquarePixelHeight()];
  return (await track.getRotation()) % 180 === 90 ? [high, wide] : [wide, high];
}

async function containerOf(
  film: OpenFilm,
  packets: readonly EncodedPacket[],
): Promise<{ file: Uint8Array<ArrayBuffer>; ending: "mp4" | "webm" }> {
  const { track, codec } = film;
  const ending = codec === "vp8" ? "webm" : "mp4";
  const target = new BufferTarget();
  const output = new Output({
    format: ending === "mp4" ? new Mp4OutputFormat({ fastStart: "in-memory" }) : new WebMOutputFormat(),
    target,
  });
  const source = new EncodedVideoPacketSource(codec);
  output.addVideoTrack(source, { transformationMatrix: await track.getTransformationMatrix() });
  await output.start();
  const decoderConfig = (await track.getDecoderConfig())!;
  const shift = Math.min(...packets.map(({ timestamp }) => timestamp));
  for (const packet of packets) await source.add(packet.clone({ timestamp: Math.max(0, packet.timestamp - shift) }), { decoderConfig });
  await output.finalize();
  const file = new Uint8Array(target.buffer!);
  if (ending === "mp4") clearDates(file);
  return { file, ending };
}
