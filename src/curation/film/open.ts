/**
 * A film as curation reads it: by range, so that hours of it are never in memory, its packets' times and key frames without decoding, its
 * pictures in the order in which they are shown. What reads a model's clips (src/video/read) takes files whole, and gives finished colours;
 * here every frame of every file is looked at once, and luma and chroma are enough.
 */
import { installWebCodecs } from "#platform";
import {
  EncodedPacketSink,
  Input,
  type InputFormat,
  type InputVideoTrack,
  Logging,
  LogLevel,
  MATROSKA,
  MP4,
  QTFF,
  type Source as MediaSource,
  type VideoCodec,
  WEBM,
} from "mediabunny";
import { CogwheelError } from "../../base/errors.ts";
import { codecName } from "../../video/read/codec-name.ts";
import { anyLevel, registerPlainDecoder } from "../../video/read/plain-decoder.ts";
import { streamFormat } from "../../video/read/stream.ts";
import type { StreamFormat } from "../../video/read/stream-format.ts";

export interface OpenFilm extends Disposable {
  readonly input: Input;
  readonly track: InputVideoTrack;
  readonly codec: VideoCodec;
  readonly codecs: "browser" | "package";
  /** Its pictures' format as the first key frame says it, where it does. */
  readonly stream: StreamFormat | undefined;
  readonly container: string;
  /** Whether luma goes from 0 to 255, as the film says; decoders in Node do not pass it on. */
  readonly fullRange: boolean;
  /** What messages call it. */
  readonly name: string;
}

/** @param name what messages call it @param more containers than MP4, MOV, MKV and WebM. Throws a CogwheelError for what is no film that can be decoded here. */
export async function openFilm(source: MediaSource, name: string, more: readonly InputFormat[] = []): Promise<OpenFilm> {
  const codecs = await installWebCodecs();
  if (codecs === "package") registerPlainDecoder();
  // What the demuxer would print is said here in words.
  Logging.level = LogLevel.Silent;
  const input = new Input({ source, formats: [MP4, QTFF, MATROSKA, WEBM, ...more] });
  try {
    const format = await input.getFormat();
    const track = await input.getPrimaryVideoTrack();
    if (!track) throw new CogwheelError("scan", `${name} must have a video track, got ${await withoutFilm(input, format.name)}`);
    const codec = await track.getCodec();
    const config = codec && (await track.getDecoderConfig());
    const supported =
      config &&
      (await VideoDecoder.isConfigSupported(codecs === "package" ? { ...config, codec: anyLevel(config.codec) } : config)).supported;
    if (!codec || !supported)
      throw new CogwheelError(
        "scan",
        `${name} must be in a codec that can be decoded here, got ${codecName(codec, await track.getInternalCodecId())}; ` +
          "convert it to H.264 (ffmpeg -i FILE -c:v libx264 -crf 12 film.mp4)",
      );
    const fullRange = config.colorSpace?.fullRange === true;
    const packet = await new EncodedPacketSink(track).getFirstKeyPacket();
    const stream = packet ? streamFormat(codec, config.description as Uint8Array | undefined, packet.data) : undefined;
    return { input, track, codec, codecs, stream, container: format.name, fullRange, name, [Symbol.dispose]: () => input.dispose() };
  } catch (error) {
    input.dispose();
    throw refused(error, name);
  }
}

/** What a demuxer or a codec threw, in our words. */
export function refused(error: unknown, name: string): CogwheelError {
  if (error instanceof CogwheelError) return error;
  const said = error instanceof Error ? error.message : String(error);
  if (/^Encrypted media/.test(said))
    return new CogwheelError("scan", `${name} must not be encrypted, got pictures that want a key; give the film without encryption`, {
      cause: error,
    });
  return new CogwheelError(
    "scan",
    `${name} must be a whole MP4, MOV, MKV, WebM or MPEG-TS, got ${wordsFor(said)}; ` +
      "download or copy it again, or convert it to H.264 (ffmpeg -i FILE -c:v libx264 -crf 12 film.mp4)",
    { cause: error },
  );
}

/** What the demuxer takes for granted says nothing to who has the file. */
const wordsFor = (said: string): string =>
  /^Assertion failed/.test(said) ? "parts that contradict each other, as of a film that is damaged or encrypted" : said;

/** What a container has in place of a film, and what to do about it. */
async function withoutFilm(input: Input, container: string): Promise<string> {
  if ((await input.getTracks()).some((track) => track.isAudioTrack())) return "sound alone; remove it, or give the film";
  // Such streams carry a number where others name their codec, and the demuxer tells of those alone that it knows.
  if (container === "MPEG Transport Stream")
    return (
      "none in a codec that can be decoded here (broadcasts have MPEG-2); " +
      "convert it to H.264 (ffmpeg -i FILE -c:v libx264 -crf 12 film.mp4)"
    );
  return "none, as of a file that was cut off before its index; download or copy it again";
}

/** Packets of a film as they are stored: in the order of decoding. Times are the container's, in seconds. */
export interface PacketTimes {
  readonly timestamps: Float64Array;
  readonly durations: Float64Array;
  /** 1 for a key frame. */
  readonly keys: Uint8Array;
}

export async function packetTimes(film: OpenFilm, progress: () => void): Promise<PacketTimes> {
  const [times, durations, keys]: [number[], number[], number[]] = [[], [], []];
  for await (const packet of new EncodedPacketSink(film.track).packets(undefined, undefined, { metadataOnly: true })) {
    times.push(packet.timestamp);
    durations.push(packet.duration);
    keys.push(packet.type === "key" ? 1 : 0);
    progress();
  }
  return { timestamps: Float64Array.from(times), durations: Float64Array.from(durations), keys: Uint8Array.from(keys) };
}
