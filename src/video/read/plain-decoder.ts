/**
 * The decoder of the package for Node behind mediabunny. Its own wrapper is for browsers: it decodes alpha beside the colours and
 * merges the two in workers, and works around what browsers do. FFmpeg needs nothing of it but one thing: what the package gives wrong
 * is kept from it: RGB and full range, for whose planes it has no names (sps.ts), and odd sizes (stream.ts).
 */
import { CustomVideoDecoder, registerDecoder, VideoSample, type EncodedPacket } from "mediabunny";
import { LeadingPictures, neutral } from "./sps.ts";
import { evened } from "./stream.ts";

/** Packets that are given to the codec before its frames are waited for: more only keep more pictures in memory, out of the caches. */
const AHEAD = 2;

class PlainDecoder extends CustomVideoDecoder {
  #decoder: VideoDecoder | undefined;
  #failure: unknown;
  /**
   * Times of what was given, in order. Pictures come out in the order in which they are shown, but
   * with the times of the packets as they went in.
   */
  readonly #times: { timestamp: number; duration: number }[] = [];
  #leading: LeadingPictures | undefined;

  static override supports(): boolean {
    return true;
  }

  init(): Promise<void> {
    return this.#tell(async () => this.#begin());
  }

  #begin(): void {
    const { codec, config } = this;
    this.#decoder = new VideoDecoder({
      output: (frame) => {
        this.onSample(new VideoSample(frame, this.#times.shift()));
      },
      error: (error) => {
        if (!this.#failure) this.onError(error);
        this.#failure ??= error;
      },
    });
    const description = config.description as Uint8Array | undefined;
    const plain = codec === "avc" || codec === "hevc" ? neutral(codec, description) : description;
    // Colours are looked up by us, and said here they would choose the format of the planes.
    const { colorSpace: _, ...rest } = config;
    this.#decoder.configure({
      ...rest,
      codec: anyLevel(rest.codec),
      ...(plain ? { description: plain } : {}),
      hardwareAcceleration: "prefer-software",
    });
  }

  /**
   * What goes wrong is told by `onError`: mediabunny calls one method after another, and a rejection of one is taken for one of all
   * that follow, of which nobody takes that of `close`.
   */
  async #tell(work: () => Promise<void>): Promise<void> {
    if (this.#failure) return;
    try {
      await work();
    } catch (error) {
      this.#failure ??= error;
      this.onError(error);
    }
  }

  decode(packet: EncodedPacket): Promise<void> {
    return this.#tell(() => this.#decode(packet));
  }

  async #decode(packet: EncodedPacket): Promise<void> {
    const { codec, config } = this;
    const decoder = this.#decoder!;
    const timestamp = packet.microsecondTimestamp;
    const nal = codec === "avc" || codec === "hevc";
    if (
      nal &&
      (this.#leading ??= new LeadingPictures(codec)).skips(config.description as Uint8Array | undefined, packet.data, packet.timestamp)
    )
      return;
    insert(this.#times, { timestamp: packet.timestamp, duration: packet.duration });
    const data =
      packet.type !== "key"
        ? packet.data
        : nal
          ? neutral(codec, config.description as Uint8Array | undefined, packet.data)!
          : evened(codec, packet.data);
    decoder.decode(new EncodedVideoChunk({ type: packet.type, timestamp, duration: packet.microsecondDuration, data }));
    while (decoder.decodeQueueSize > AHEAD && !this.#failure) await new Promise((resolve) => setTimeout(resolve, 1));
  }

  flush(): Promise<void> {
    return this.#tell(async () => {
      await this.#decoder!.flush();
      this.#times.length = 0;
      this.#leading = undefined;
    });
  }

  close(): void {
    if (this.#decoder && this.#decoder.state !== "closed") this.#decoder.close();
  }
}

function insert(times: { timestamp: number; duration: number }[], time: { timestamp: number; duration: number }): void {
  let at = times.length;
  while (at > 0 && times[at - 1]!.timestamp > time.timestamp) at--;
  times.splice(at, 0, time);
}

/**
 * A codec string that the package takes. It refuses levels that it has no name for (AV1's 31, "whatever there may be", of rav1e; VP9's
 * 0, "not said"; H.264's 9, 1b) and profiles of more than one layer or view, of which the first is shown. Its decoders go by the stream.
 */
export function anyLevel(codec: string): string {
  return codec
    .replace(/^(avc[13])\..*$/, "$1.64003e")
    .replace(/^(av01\.\d)\.\d+/, "$1.23")
    .replace(/^(vp09\.\d+)\.\d+/, "$1.62");
}

let registered = false;
/** Makes it the decoder of all films. */
export function registerPlainDecoder(): void {
  if (!registered) registerDecoder(PlainDecoder);
  registered = true;
}
