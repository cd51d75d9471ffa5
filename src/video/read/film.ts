/**
 * MP4, MOV, MKV, WebM → frames as ffmpeg shows them: those that the edit list shows, by the film's own matrix and range, upright, in
 * square pixels. mediabunny takes the container apart, WebCodecs decode; what neither of them tells is read here (mp4-boxes.ts,
 * mkv-elements.ts, stream.ts).
 */
import { installWebCodecs } from "#platform";
import {
  BufferSource,
  EncodedPacketSink,
  Input,
  type InputVideoTrack,
  Logging,
  LogLevel,
  MATROSKA,
  MP4,
  QTFF,
  type VideoSample,
  VideoSampleSink,
  WEBM,
} from "mediabunny";
import { CogwheelError } from "../../base/errors.ts";
import { matrixFor } from "../color.ts";
import { fitFrame } from "../fit.ts";
import { withChannels, type Frame } from "../frame.ts";
import { codecName } from "./codec-name.ts";
import { refuseBeyondFrames, refuseBeyondPixels } from "./limits.ts";
import { mkvEnd, mkvTrack, mkvWhole } from "./mkv-elements.ts";
import { mp4End, mp4Track, type Mp4Track } from "./mp4-boxes.ts";
import { mp4Whole } from "./mp4-fragments.ts";
import { OLD_QUICKTIME } from "./old-quicktime.ts";
import { orient, type Orientation } from "./orientation.ts";
import { PictureReader } from "./planes.ts";
import { anyLevel, registerPlainDecoder } from "./plain-decoder.ts";
import type { ReadContext, Reader, ReadFrame } from "./reader.ts";
import { LeadingPictures } from "./sps.ts";
import { refuseMistaken } from "./mistaken.ts";
import { streamFormat } from "./stream.ts";
import type { StreamFormat } from "./stream-format.ts";
import { knownMatrix, MATRIX } from "./yuv.ts";

export const readFilm: Reader = async function* (bytes, context) {
  const codecs = await installWebCodecs();
  if (codecs === "package") registerPlainDecoder();
  // What the demuxer would print is said here in words, or is no news to a user.
  const level = Logging.level;
  Logging.level = LogLevel.Silent;
  try {
    using input = new Input({ source: new BufferSource(mp4Whole(mkvWhole(bytes))), formats: [MP4, QTFF, OLD_QUICKTIME, MATROSKA, WEBM] });
    const film = await open(input, bytes, context, codecs);
    yield* film.edits ? editedFrames(film, context) : allFrames(film, context);
  } catch (error) {
    if (error instanceof CogwheelError) throw error;
    throw new CogwheelError(
      "video",
      `${context.name} must be a whole MP4, WebM, MOV or MKV, got ${(error as Error).message}; ` +
        "download or copy it again, or convert it to H.264 (ffmpeg -i FILE -c:v libx264 -crf 12 film.mp4)",
      { cause: error },
    );
  } finally {
    Logging.level = level;
  }
};

/** More parts than an editor makes: each is decoded from a key frame of its own. */
const MOST_EDITS = 1000;

interface Film {
  track: InputVideoTrack;
  bytes: Uint8Array;
  index: Mp4Track | undefined;
  edits: Mp4Track["edits"];
  stream: StreamFormat | undefined;
  codecs: "browser" | "package";
  codec: string;
  picture: PictureReader;
  orientation: Orientation;
  aspect: number;
}

async function open(input: Input, bytes: Uint8Array, context: ReadContext, codecs: "browser" | "package"): Promise<Film> {
  const { name } = context;
  const track = await input.getPrimaryVideoTrack();
  if (!track) throw new CogwheelError("video", `${name} must have a video track, got none; give a film or a picture`);
  const codec = await track.getCodec();
  const config = codec && (await track.getDecoderConfig());
  const format = await input.getFormat();
  const matroska = format === MATROSKA || format === WEBM;
  const index = matroska ? undefined : mp4Track(bytes, track.id);
  const called = codecName(codec, await track.getInternalCodecId(), index?.objectType);
  if (
    !codec ||
    !config ||
    !(await VideoDecoder.isConfigSupported(codecs === "package" ? { ...config, codec: anyLevel(config.codec) } : config)).supported
  ) {
    throw new CogwheelError(
      "video",
      `${name} must be in a codec that can be decoded here, got ${called}; ` +
        "convert it to H.264 (ffmpeg -i FILE -c:v libx264 -crf 12 film.mp4)",
    );
  }
  const [width, height] = [await track.getCodedWidth(), await track.getCodedHeight()];
  refuseBeyondPixels(context, width, height);
  const container = matroska ? mkvTrack(bytes, track.id) : index;
  const edits = index && !index.fragmented ? index.edits : undefined;
  // What an edit list leaves of the samples is counted as it comes.
  if (index && !edits) refuseBeyondFrames(context, width, height, index.samples);
  if (edits && edits.length > MOST_EDITS)
    throw new CogwheelError(
      "video",
      `${name} must have at most ${MOST_EDITS} edits, got ${edits.length}; ` +
        "the file is damaged, or convert it to H.264 (ffmpeg -i FILE -c:v libx264 -crf 12 film.mp4)",
    );
  context.progress();

  const packet = await new EncodedPacketSink(track).getFirstKeyPacket();
  if (!packet)
    throw new CogwheelError(
      "video",
      `${name} must hold at least one picture, got none in ${bytes.length} bytes; the file was cut off: download or copy it again`,
    );
  const stream = streamFormat(codec, config.description as Uint8Array | undefined, packet.data);
  const grey = stream?.across === 0;
  const colors = colorsOf(name, width, height, stream, container);
  const transfer = stream?.transfer ?? container?.color?.transfer;
  if (transfer === 16 || transfer === 18) {
    context.warn(
      `${name} is HDR (${transfer === 16 ? "PQ" : "HLG"}): its values are taken as they are stored, without tone mapping, ` +
        "and will look flat; convert it to SDR first if that is not wanted",
    );
  }
  const aspect = container?.aspect ?? stream?.aspect ?? { num: 1, den: 1 };
  const pose = matroska && container && "pose" in container ? container.pose : undefined;
  return {
    track,
    bytes,
    index,
    edits,
    stream,
    codecs,
    codec,
    picture: new PictureReader(
      { ...colors, grey },
      codecs === "package" ? { columns: stream?.half?.column ? 1 : 0, rows: stream?.half?.row ? 1 : 0 } : { columns: 0, rows: 0 },
      container?.aperture,
    ),
    orientation: pose ? poseOrientation(name, pose) : matrixOrientation(name, await track.getTransformationMatrix()),
    aspect: aspect.num / aspect.den,
  };
}

/** What the stream says holds over what the container says; where neither does, what players assume. */
function colorsOf(
  name: string,
  width: number,
  height: number,
  stream: StreamFormat | undefined,
  container: { color?: Mp4Track["color"] } | undefined,
): { matrix: number; fullRange: boolean } {
  const said = stream?.matrix ?? container?.color?.matrix ?? MATRIX.unspecified;
  // RGB has no planes of half size.
  const unknown = said === MATRIX.unspecified || (said === MATRIX.rgb && stream?.across !== 1);
  const matrix = !unknown ? said : matrixFor(width, height) === "bt709" ? MATRIX.bt709 : MATRIX.smpte170m;
  if (!knownMatrix(matrix))
    throw new CogwheelError(
      "video",
      `${name} must have colours of a matrix that is known here, got ${MATRIX_NAMES[matrix] ?? `number ${matrix}`}; ` +
        "convert it to BT.709 (ffmpeg -vf zscale=matrix=709)",
    );
  return { matrix, fullRange: stream?.fullRange ?? container?.color?.fullRange ?? false };
}

const MATRIX_NAMES: Record<number, string> = {
  8: "YCgCo",
  10: "BT.2020 of constant luminance",
  11: "SMPTE 2085",
  12: "one derived from the primaries",
  13: "one derived from the primaries",
  14: "ICtCp",
  15: "IPT-C2",
  16: "YCgCo-Re",
  17: "YCgCo-Ro",
};

/** A matrix for row vectors, a b first: the axes of the stored picture come to lie along (a, b) and (c, d). */
function matrixOrientation(name: string, m: readonly number[]): Orientation {
  const [a, b, c, d] = [m[0]!, m[1]!, m[3]!, m[4]!];
  const upright = Math.abs(a) + Math.abs(d);
  const across = Math.abs(b) + Math.abs(c);
  if (upright + across === 0) return 1;
  if (Math.min(upright, across) > 0.02 * Math.max(upright, across)) {
    throw new CogwheelError(
      "video",
      `${name} must be turned by quarters, got a matrix of ${[a, b, c, d].map((value) => value.toFixed(2)).join(", ")}; ` +
        "turn it first (ffmpeg does so when it converts)",
    );
  }
  if (upright > across) return a > 0 ? (d < 0 ? 4 : 1) : d < 0 ? 3 : 2;
  return b > 0 ? (c < 0 ? 6 : 5) : c < 0 ? 7 : 8;
}

/** Matroska's: rolled counter-clockwise, then mirrored left to right where it is seen from behind. */
function poseOrientation(name: string, { roll, mirrored }: { roll: number; mirrored: boolean }): Orientation {
  const radians = ((mirrored ? -roll : roll) * Math.PI) / 180;
  const [cos, sin] = [Math.cos(radians), Math.sin(radians)];
  const flip = mirrored ? -1 : 1;
  return matrixOrientation(name, [flip * cos, -sin, 0, flip * sin, cos]);
}

/** Every frame, whatever its time. */
async function* allFrames(film: Film, context: ReadContext): AsyncGenerator<ReadFrame, void, undefined> {
  let count = 0;
  let first: number | undefined;
  for await (const sample of new VideoSampleSink(film.track).samples()) {
    using held = sample;
    context.progress();
    first ??= held.timestamp;
    yield { ...(await shown(film, held, context, count)), seconds: held.timestamp - first, duration: held.duration };
    if (++count >= context.maxFrames) return;
  }
  await warnOfMissing(film, context, count);
}

/** The frames that the edit list shows, edit by edit; what an edit begins between two key frames is decoded from the one before it. */
async function* editedFrames(film: Film, context: ReadContext): AsyncGenerator<ReadFrame, void, undefined> {
  const { timescale, offset } = film.index!;
  const sink = new VideoSampleSink(film.track);
  let count = 0;
  let before = 0;
  let first: number | undefined;
  for (const { from, length } of film.edits!) {
    if (from !== undefined) {
      for await (const sample of sink.samples((from - offset) / timescale, (from + length - offset) / timescale)) {
        using held = sample;
        context.progress();
        const tick = Math.round(held.timestamp * timescale) + offset;
        if (tick < from || tick >= from + length) continue;
        const seconds = before + (tick - from) / timescale;
        first ??= seconds;
        yield { ...(await shown(film, held, context, count)), seconds: seconds - first, duration: held.duration };
        if (++count >= context.maxFrames) return;
      }
    }
    before += Number.isFinite(length) ? length / timescale : 0;
  }
  await warnOfMissing(film, context, count);
}

/** One picture as it is to be seen. */
async function shown(film: Film, sample: VideoSample, context: ReadContext, count: number): Promise<Frame> {
  refuseMistaken(film, sample, context.name, "video");
  const { width, height } = film.picture.areaOf(sample);
  refuseBeyondPixels(context, width, height, "in its stream");
  let frame = await film.picture.read(sample);
  const { aspect } = film;
  // Pixels become square by growing, as in browsers.
  const square = { width: Math.round(frame.width * Math.max(1, aspect)), height: Math.round(frame.height / Math.min(1, aspect)) };
  refuseBeyondPixels(context, square.width, square.height, "when its pixels are square");
  refuseBeyondFrames(context, square.width, square.height, count + 1);
  if (square.width !== frame.width || square.height !== frame.height) {
    frame = { ...square, data: withChannels(fitFrame(frame, { ...square, fit: "stretch" }), 4) };
  }
  return orient(frame, film.orientation);
}

/**
 * Says how many frames are missing of those that the index promises to show, or, where nothing counts
 * them, of those that are there or were cut off.
 */
async function warnOfMissing({ track, index, edits, bytes, codec }: Film, context: ReadContext, count: number): Promise<void> {
  // Of a film in fragments nothing says how many there are, be the first of them in an index or not.
  const indexed = index !== undefined && index.samples > 0 && !index.fragmented;
  if (!indexed && (mp4End(bytes) ?? mkvEnd(bytes) ?? 0) > bytes.length) {
    context.warn(`${context.name} was cut off before its end: ${count} frames were read`);
    return;
  }
  const unseen = await neverShown(track, codec, context);
  let promised = 0;
  for await (const { timestamp, sequenceNumber } of new EncodedPacketSink(track).packets(undefined, undefined, { metadataOnly: true })) {
    context.progress();
    if (unseen.has(sequenceNumber)) continue;
    const tick = index ? Math.round(timestamp * index.timescale) + index.offset : 0;
    promised += edits ? edits.filter(({ from, length }) => from !== undefined && tick >= from && tick < from + length).length : 1;
  }
  if (count < promised)
    context.warn(
      `${context.name} has ${count} of the ${promised} frames ` +
        `that ${indexed ? "its index promises; the file was cut off or is damaged" : "it holds; the file is damaged"}`,
    );
}

/**
 * Packets that no player shows, by their numbers: pictures of VP8 that are only referred to, those of H.264
 * and HEVC that need what was cut off in front.
 */
async function neverShown(track: InputVideoTrack, codec: string, context: ReadContext): Promise<Set<number>> {
  const unseen = new Set<number>();
  if (codec !== "vp8" && codec !== "hevc" && codec !== "avc") return unseen;
  const description = (await track.getDecoderConfig())?.description as Uint8Array | undefined;
  const leading = codec === "vp8" ? undefined : new LeadingPictures(codec);
  // Ends where the file was cut off.
  for await (const { data, sequenceNumber, timestamp } of new EncodedPacketSink(track).packets()) {
    context.progress();
    if (leading ? leading.skips(description, data, timestamp) : !(data[0]! & 0x10)) unseen.add(sequenceNumber);
  }
  return unseen;
}
