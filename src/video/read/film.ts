/** MP4, MOV, MKV, WebM → frames. */
import { installWebCodecs } from "#platform";
import type { VideoSample } from "mediabunny";
import { CogwheelError } from "../../errors.ts";
import { matrixFor, toRgba, type Plane } from "../color.ts";
import type { Frame } from "../frame.ts";
import type { Reader } from "./reader.ts";

export const readFilm: Reader = async function* (bytes, { name, maxFrames, progress }) {
  await installWebCodecs();
  const { BufferSource, Input, MATROSKA, MP4, QTFF, VideoSampleSink, WEBM } = await import("../film-decoder.ts");
  try {
    using input = new Input({ source: new BufferSource(bytes), formats: [MP4, QTFF, MATROSKA, WEBM] });
    const track = await input.getPrimaryVideoTrack();
    if (!track) throw new CogwheelError("video", `${name} must have a video track, got none`);
    if (!(await track.canDecode())) throw new CogwheelError("video", `${name} must be in a codec that can be decoded here, got ${(await track.getCodecParameterString()) ?? "an unknown one"}; convert it to H.264`);
    progress();
    let count = 0;
    let first: number | undefined;
    for await (const sample of new VideoSampleSink(track).samples()) {
      using held = sample;
      progress();
      first ??= held.timestamp;
      yield { ...turned(await frameOf(held), held.rotation), seconds: held.timestamp - first, duration: held.duration };
      if (++count >= maxFrames) break;
    }
  } catch (error) {
    if (error instanceof CogwheelError) throw error;
    throw new CogwheelError("video", `${name} must be a whole MP4, WebM, MOV, MKV, GIF or PNG, got ${(error as Error).message}`, { cause: error });
  }
};

/** Where the planes of a format lie among those that a copy gives, and how far its chroma is halved. */
const LAYOUTS: Record<string, { across: number; down: number; interleaved: boolean }> = {
  I420: { across: 2, down: 2, interleaved: false },
  I420A: { across: 2, down: 2, interleaved: false },
  I422: { across: 2, down: 1, interleaved: false },
  I444: { across: 1, down: 1, interleaved: false },
  NV12: { across: 2, down: 2, interleaved: true },
};

async function frameOf(sample: VideoSample): Promise<Frame> {
  const { width, height } = sample.visibleRect;
  const layout = LAYOUTS[sample.format ?? ""];
  if (!layout) {
    // RGB of some order, more than 8 bits, or a picture that only the browser can look into.
    const data = new Uint8Array(sample.allocationSize({ format: "RGBA" }));
    await sample.copyTo(data, { format: "RGBA" });
    return { width, height, data };
  }
  const data = new Uint8Array(sample.allocationSize());
  const planes = await sample.copyTo(data);
  const plane = (index: number, step = 1, shift = 0): Plane => ({ offset: planes[index]!.offset + shift, stride: planes[index]!.stride, step });
  const [cb, cr] = layout.interleaved ? [plane(1, 2), plane(1, 2, 1)] : [plane(1), plane(2)];
  const { matrix, fullRange } = sample.colorSpace;
  const known = matrix === "bt709" ? "bt709" : matrix === "smpte170m" || matrix === "bt470bg" ? "smpte170m" : matrixFor(width, height);
  const { across, down } = layout;
  return { width, height, data: toRgba({ width, height, data, luma: plane(0), cb: cb!, cr: cr!, across, down, matrix: known, fullRange: fullRange ?? false }) };
}

/** Turned clockwise, as cameras that were held upright ask for. */
function turned({ width, height, data }: Frame, degrees: number): Frame {
  if (degrees === 0) return { width, height, data };
  const swap = degrees !== 180;
  const [columns, rows] = swap ? [height, width] : [width, height];
  const from = new Uint32Array(data.buffer, data.byteOffset, width * height);
  const to = new Uint32Array(width * height);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const [fromX, fromY] = degrees === 90 ? [y, height - 1 - x] : degrees === 180 ? [width - 1 - x, height - 1 - y] : [width - 1 - y, x];
      to[y * columns + x] = from[fromY * width + fromX]!;
    }
  }
  return { width: columns, height: rows, data: new Uint8Array(to.buffer) };
}
