/** Films in formats that the decoder would mistake: found before any picture is decoded, and refused by name. */
import type { VideoSample } from "mediabunny";
import { CogwheelError } from "../../base/errors.ts";
import { codecName } from "./codec-name.ts";
import { layoutOf } from "./planes.ts";
import type { StreamFormat } from "./stream-format.ts";
import { MATRIX } from "./yuv.ts";

/** What is known of a film before any of its pictures is decoded. */
export interface StreamKind {
  readonly codecs: "browser" | "package";
  readonly codec: string;
  readonly stream: StreamFormat | undefined;
}

/**
 * The decoder for Node takes every format that it has no name for for 4:2:0 of 8 bits: what
 * it gives is compared with what the stream says.
 * @param room the error's
 */
export function refuseMistaken({ codecs, codec, stream }: StreamKind, sample: VideoSample, name: string, room: "video" | "scan"): void {
  const layout = layoutOf(sample.format);
  if (codecs !== "package" || !stream || !layout) return;
  const grey = stream.across === 0;
  // H.264's grey comes with chroma; its planes of 9 bits and the like do not come at all.
  const same = layout.depth === stream.depth && (grey ? codec === "avc" : layout.across === stream.across && layout.down === stream.down);
  if (same) return;
  const kind = grey
    ? "greyscale"
    : stream.matrix === MATRIX.rgb
      ? "RGB"
      : stream.across === 1 && stream.down === 2
        ? "4:4:0"
        : `4:${4 / stream.across}:${stream.down === 2 ? 0 : 4 / stream.across}`;
  throw new CogwheelError(
    room,
    `${name} must be in a format that the decoder for Node gives whole, got ${kind} of ${stream.depth} bits ` +
      `in ${codecName(codec, null)}; convert it to 4:2:0 or 4:4:4 (ffmpeg -pix_fmt yuv444p -c:v libx264 -crf 12 film.mp4)`,
  );
}
