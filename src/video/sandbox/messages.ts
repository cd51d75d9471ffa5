/** What a reader tells its host, and what the host believes of it: a reader may have been taken over by what it read. */
import { CogwheelError } from "../../base/errors.ts";
import { cut, visible, visibleLines } from "../../base/visible.ts";
import { mebibytes } from "../read/limits.ts";
import type { ReadFrame } from "../read/reader.ts";
import type { MediaRequest, SandboxLimits } from "./types.ts";

/** A frame's bytes come beside its message. */
export type FromReader =
  | { type: "frame"; width: number; height: number; seconds?: number; duration?: number }
  | { type: "warning"; text: string }
  /** The first: it started, and is watched. */
  | { type: "ready" }
  /** `spent`: the reader is not to be asked again. */
  | { type: "error"; rule: string; detail: string | undefined; spent?: boolean }
  | { type: "end"; spent?: boolean };

/** Warnings that are passed on, and that are taken at all. */
const MOST_WARNINGS = 20;
const ENDLESS_WARNINGS = 10_000;
const MOST_LETTERS = 2000;
const MOST_DETAIL = 4000;

/** Checks what comes out of a reader for one file. */
export class Customs {
  readonly #request: MediaRequest;
  readonly #warn: (message: string) => void;
  #frames = 0;
  #bytes = 0;
  #warnings = 0;

  constructor(request: MediaRequest, warn: (message: string) => void = () => {}) {
    this.#request = request;
    this.#warn = warn;
  }

  /** The most bytes that may come beside a message. */
  get mostBytes(): number {
    return 4 * this.#request.limits.pixels;
  }

  /** Whether a file is over with it, and whether the reader may be asked for another one. */
  isLast(message: unknown): { last: boolean; spent: boolean } {
    const { type, spent } = (message ?? {}) as { type?: unknown; spent?: unknown };
    return { last: type === "end" || type === "error", spent: spent === true };
  }

  /** A frame; warnings are passed on and give `undefined`. Throws what the reader refused, and what is not to be believed. */
  take(message: unknown, bytes: Uint8Array | undefined): ReadFrame | undefined {
    const said = (typeof message === "object" && message !== null ? message : {}) as Record<string, unknown>;
    switch (said["type"]) {
      case "frame":
        return this.#frame(said, bytes ?? new Uint8Array());
      case "end":
        this.#tellMore();
        return undefined;
      case "error":
        this.#tellMore();
        throw new CogwheelError(
          "video",
          text(said["rule"]),
          typeof said["detail"] === "string" ? { cause: new Error(visibleLines(cut(said["detail"], MOST_DETAIL))) } : {},
        );
      case "warning":
        if (++this.#warnings > ENDLESS_WARNINGS) throw this.broken(`more than ${ENDLESS_WARNINGS} warnings`);
        if (this.#warnings <= MOST_WARNINGS) this.#warn(text(said["text"]));
        return undefined;
      default:
        throw this.broken("a message that it does not know");
    }
  }

  #tellMore(): void {
    const more = this.#warnings - MOST_WARNINGS;
    if (more > 0) this.#warn(`${visible(this.#request.name)} has ${more} more warnings of this kind, which are left out`);
  }

  broken(what: string): CogwheelError {
    return new CogwheelError(
      "video",
      `${this.#request.name} must be a file that can be read, got a reader that answered with ${what}; convert the file`,
    );
  }

  #frame({ width, height, seconds, duration }: Record<string, unknown>, bytes: Uint8Array): ReadFrame {
    const { limits, maxFrames, name } = this.#request;
    const size = (value: unknown): value is number => Number.isInteger(value) && (value as number) > 0;
    if (!size(width) || !size(height) || width * height > limits.pixels || bytes.length !== 4 * width * height)
      throw this.broken(`a frame of ${text(String(width))}×${text(String(height))} in ${bytes.length} bytes`);
    this.#bytes += bytes.length;
    if (++this.#frames > Math.min(maxFrames, limits.frames)) throw this.broken(`more than ${Math.min(maxFrames, limits.frames)} frames`);
    if (this.#bytes > limits.bytes)
      throw new CogwheelError(
        "video",
        `${name} must be at most ${mebibytes(limits.bytes)} MiB when it is decoded, got more after ${this.#frames} frames ` +
          `of ${width}×${height}; read fewer of them (--frames, or maxFrames of decodeVideo), or raise limits.bytes`,
      );
    const time = (value: unknown): number | undefined => (typeof value === "number" && Number.isFinite(value) ? value : undefined);
    return {
      width,
      height,
      data: bytes,
      ...(time(seconds) === undefined ? {} : { seconds: time(seconds)! }),
      ...(time(duration) === undefined ? {} : { duration: time(duration)! }),
    };
  }
}

/** One line of a reader's words, and not more of it than anybody reads. */
function text(value: unknown): string {
  return visible(cut(typeof value === "string" ? value : "nothing", MOST_LETTERS));
}

/** What a reader says of a file that cannot be in memory. */
export function tooLarge(name: string, most: number, size: number): CogwheelError {
  return new CogwheelError(
    "video",
    `${name} must be at most ${Math.floor(most / 2 ** 20)} MiB, what can be in memory here, got ${Math.ceil(size / 2 ** 20)}; ` +
      "cut out what is needed first (ffmpeg -i IN -t 10 -c copy OUT)",
  );
}

/** Why a reader was ended, in words. */
export function ended(name: string, why: "memory" | "stalled", { memory, seconds }: SandboxLimits): CogwheelError {
  return why === "memory"
    ? new CogwheelError(
        "video",
        `${name} must be read within ${Math.round(memory / 2 ** 20)} MiB of memory, ` +
          "got a file that takes more, as damaged and malicious ones do; convert it to a smaller size, or raise limits.memory",
      )
    : new CogwheelError(
        "video",
        `${name} must be read ahead at least every ${seconds} s, ` +
          "got a file on which the reader made no progress, as damaged ones do; convert it, or raise limits.seconds",
      );
}

export function warningMessage(text: string): FromReader {
  return { type: "warning", text: cut(text, MOST_LETTERS) };
}

/** What a reader says of any error: those of the product as they are, a foreign one in its words; no longer than its host believes. */
export function errorMessage(error: unknown, name: string): Extract<FromReader, { type: "error" }> {
  if (error instanceof CogwheelError)
    return { type: "error", rule: cut(error.message.replace(/^\[[^\]]*\] /, ""), MOST_LETTERS), detail: undefined };
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  return {
    type: "error",
    rule: `${name} must be a whole file of its kind, got ${cut(String(message), MOST_LETTERS / 2)}; convert it`,
    detail: cut(String(stack), MOST_DETAIL),
  };
}
