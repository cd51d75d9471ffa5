/** Frames → the bytes of a file: MP4 and WebM by WebCodecs and mediabunny, GIF, PNG. The same in Node and the browser. */
import { installWebCodecs } from "#platform";
import { CogwheelError } from "../base/errors.ts";
import { matrixFor, toI420 } from "./color.ts";
import { checkedFrames, withChannels, type Frame, type Frames } from "./frame.ts";
import { gifDelays } from "./gif-delays.ts";
import { commentOf } from "./comment.ts";
import { clearDates } from "./mp4-dates.ts";

/** What a single file can hold. */
export type VideoFormat = "mp4" | "webm" | "gif" | "png";

export interface FormatOptions {
  format: VideoFormat;
  /** Frames a second. A GIF shows at most 50: of more, frames are left out evenly. */
  fps: number;
  /** Bits a second of MP4 and WebM. Default: so many that compression is hard to see (see `defaultBitrate`). */
  bitrate?: number;
  /** What it was made with: kept as JSON in the file's comment (see `commentIn`). A GIF has none. Default: nothing. */
  made?: object;
  signal?: AbortSignal;
  /** Called with the number of frames encoded so far. */
  onProgress?: (frames: number) => void;
}

/** Encodes a video in memory. */
export async function encodeBytes(frames: Frames, options: FormatOptions): Promise<Uint8Array<ArrayBuffer>> {
  if (!(options.fps > 0 && Number.isFinite(options.fps)))
    throw new CogwheelError("video", `fps must be a positive number, got ${options.fps}`, { code: "invalid-request" });
  const checked = checkedFrames(frames, options.signal, options.onProgress);
  switch (options.format) {
    case "mp4":
    case "webm":
      return encodeFilm(checked, options);
    case "gif":
      return encodeGif(checked, options);
    case "png":
      return encodePicture(checked, options);
    default:
      throw new CogwheelError("video", `format must be mp4, webm, gif or png, got "${String(options.format)}"`, {
        code: "invalid-request",
      });
  }
}

/**
 * Half a bit a pixel, and no less than 400 kbit/s in all: small pictures have more edges a pixel. Measured at 64×64 with 8
 * frames a second: the loss is then that of halved chroma (35 dB for a red disc on black, 44 dB for soft colours).
 */
export function defaultBitrate(width: number, height: number, fps: number): number {
  return Math.round(400_000 + 0.5 * width * height * fps);
}

/** High profile, at the level that the size needs; a level named too low for a bit rate is refused by some decoders. */
function h264Profile(width: number, height: number): string {
  const blocks = Math.ceil(width / 16) * Math.ceil(height / 16);
  return `avc1.6400${blocks <= 3600 ? "1f" : blocks <= 8192 ? "28" : "33"}`;
}

async function encodeFilm(
  frames: AsyncIterable<Frame>,
  { format, fps, bitrate, made, signal }: FormatOptions,
): Promise<Uint8Array<ArrayBuffer>> {
  await installWebCodecs();
  const { BufferTarget, getFirstEncodableVideoCodec, Mp4OutputFormat, Output, Quality, VideoSample, VideoSampleSource, WebMOutputFormat } =
    await import("./film-encoder.ts");
  const target = new BufferTarget();
  const output = new Output({
    format: format === "mp4" ? new Mp4OutputFormat({ fastStart: "in-memory" }) : new WebMOutputFormat(),
    target,
  });
  let source: InstanceType<typeof VideoSampleSource> | undefined;
  let index = 0;
  try {
    for await (const frame of frames) {
      const { width, height } = frame;
      const matrix = matrixFor(width, height);
      if (!source) {
        if (width % 2 || height % 2)
          throw new CogwheelError(
            "video",
            `width and height must be even for ${format}, got ${width}×${height}; crop a line, or choose gif or png`,
          );
        const codec = await getFirstEncodableVideoCodec(format === "mp4" ? ["avc", "vp9"] : ["vp9", "vp8"], { width, height });
        if (!codec)
          throw new CogwheelError(
            "video",
            `${format} needs an encoder for ${format === "mp4" ? "H.264 or VP9" : "VP9 or VP8"} ` +
              `at ${width}×${height}, got none; choose gif or png`,
          );
        source = new VideoSampleSource({
          codec,
          quality: new Quality({ bitrate: bitrate ?? defaultBitrate(width, height, fps) }),
          ...(codec === "avc" ? { fullCodecString: h264Profile(width, height) } : {}),
        });
        output.addVideoTrack(source, { frameRate: fps });
        const comment = made && commentOf(made);
        if (comment) output.setMetadataTags({ comment });
        await output.start();
      }
      using sample = new VideoSample(toI420(frame, matrix), {
        format: "I420",
        codedWidth: width,
        codedHeight: height,
        timestamp: index / fps,
        duration: 1 / fps,
        colorSpace: { primaries: matrix, transfer: matrix, matrix, fullRange: false },
      });
      await source.add(sample);
      index++;
    }
    signal?.throwIfAborted();
    await output.finalize();
  } catch (error) {
    if (output.state === "started") await output.cancel();
    if (error instanceof CogwheelError || signal?.aborted) throw error;
    throw new CogwheelError(
      "video",
      `encoding frame ${index + 1} as ${format} failed, got ${(error as Error).message}; choose gif or png`,
      { cause: error },
    );
  }
  const file = new Uint8Array(target.buffer!);
  if (format === "mp4") clearDates(file);
  return file;
}

async function encodeGif(frames: AsyncIterable<Frame>, { fps, signal }: FormatOptions): Promise<Uint8Array<ArrayBuffer>> {
  const { encode } = await import("modern-gif");
  const all: Uint8ClampedArray<ArrayBuffer>[] = [];
  let size = { width: 0, height: 0 };
  for await (const frame of frames) {
    size = { width: frame.width, height: frame.height };
    all.push(Uint8ClampedArray.from(withChannels(frame, 4)));
  }
  signal?.throwIfAborted();
  const pictures = gifDelays(all.length, fps).map(({ index, delay }) => ({ data: all[index]!, delay: 10 * delay }));
  return new Uint8Array(await encode({ ...size, frames: pictures, looped: true, format: "arrayBuffer" }));
}

async function encodePicture(frames: AsyncIterable<Frame>, { made }: FormatOptions): Promise<Uint8Array<ArrayBuffer>> {
  let picture: Uint8Array<ArrayBuffer> | undefined;
  for await (const frame of frames) {
    if (picture) throw new CogwheelError("video", "a png holds one frame, got more; choose mp4, webm or gif");
    picture = await encodePng(frame, made);
  }
  return picture!;
}

/** One frame as PNG, 8 bits a channel, without alpha. @param made what it was made with, for its comment */
export async function encodePng(frame: Frame, made?: object): Promise<Uint8Array<ArrayBuffer>> {
  const comment = made && commentOf(made);
  const { encode } = await import("fast-png");
  return encode({
    width: frame.width,
    height: frame.height,
    data: withChannels(frame, 3),
    channels: 3,
    depth: 8,
    ...(comment ? { text: { Comment: comment } } : {}),
  }) as Uint8Array<ArrayBuffer>;
}
