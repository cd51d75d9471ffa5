/**
 * The decoder of the package for Node behind mediabunny. Its own wrapper is for browsers: it decodes alpha beside the colours and
 * merges the two in workers, and works around what browsers do. FFmpeg needs nothing of it but one thing: what the package gives wrong
 * is kept from it: RGB and full range, for whose planes it has no names (sps.ts), and odd sizes (stream.ts).
 */
import { CustomVideoDecoder, registerDecoder, VideoSample, type EncodedPacket } from "mediabunny";
import { LeadingPictures, neutral } from "./sps.ts";
import { evened } from "./stream.ts";

/**
 * Packets that are given to the codec at once, when it has taken those before. While it decodes it holds the lock that giving one more, or
 * asking how many there are, needs: this thread would stand still for most of a picture's time. More only keep more pictures in memory.
 */
const AT_ONCE = 4;
/** Milliseconds after which a codec that says nothing is asked: it may have died. Meanwhile the timer keeps the process alive. */
const SILENCE = 1000;

class PlainDecoder extends CustomVideoDecoder {
  #decoder: VideoDecoder | undefined;
  #failure: unknown;
  /**
   * Times of what was given, in order. Pictures come out in the order in which they are shown, but
   * with the times of the packets as they went in.
   */
  readonly #times: { timestamp: number; duration: number }[] = [];
  #leading: LeadingPictures | undefined;
  readonly #waiting: EncodedVideoChunk[] = [];
  /** How many the codec has not taken yet. */
  #given = 0;
  #wake: () => void = () => {};

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
        this.#wake();
      },
    });
    this.#decoder.ondequeue = () => {
      if (this.#given > 0 && --this.#given === 0) this.#wake();
    };
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
    this.#waiting.push(new EncodedVideoChunk({ type: packet.type, timestamp, duration: packet.microsecondDuration, data }));
    if (this.#waiting.length === AT_ONCE) await this.#give();
  }

  async #give(): Promise<void> {
    await this.#untilTaken();
    const chunks = this.#waiting.splice(0);
    if (this.#failure) return;
    this.#given += chunks.length;
    for (const chunk of chunks) this.#decoder!.decode(chunk);
  }

  async #untilTaken(): Promise<void> {
    while (this.#given > 0 && !this.#failure) {
      let silent = false;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(() => {
          silent = true;
          resolve();
        }, SILENCE);
        // What went wrong with the last packet is told in the same turn as that it was taken, after it.
        this.#wake = () => {
          clearTimeout(timer);
          setImmediate(resolve);
        };
      });
      if (silent) this.#given = this.#decoder!.decodeQueueSize;
    }
  }

  flush(): Promise<void> {
    return this.#tell(async () => {
      await this.#give();
      await this.#untilTaken();
      if (this.#failure) return;
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
