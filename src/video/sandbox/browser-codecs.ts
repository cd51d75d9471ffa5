/** The decoders of JPEG and WebP on a page: bytes in chunks of their own, loaded and compiled when the worker first asks for one. */
import type { CodecName } from "../read/wasm-codec.ts";
import type { CodecAnswer } from "../read/codecs-browser.ts";

const BYTES: Record<CodecName, () => Promise<{ default: Uint8Array<ArrayBuffer> }>> = {
  jpeg: () => import("@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm"),
  webp: () => import("@jsquash/webp/codec/dec/webp_dec.wasm"),
};
const compiled = new Map<CodecName, Promise<WebAssembly.Module>>();

/** The answer to a worker, which is not believed: `name` may be anything. */
export async function codecFor(name: unknown): Promise<CodecAnswer> {
  const codec: CodecName = name === "webp" ? "webp" : "jpeg";
  try {
    if (!compiled.has(codec))
      compiled.set(
        codec,
        BYTES[codec]().then(({ default: bytes }) => WebAssembly.compile(bytes)),
      );
    return { codec, module: await compiled.get(codec)! };
  } catch (error) {
    compiled.delete(codec);
    return { codec, error: (error as Error).message };
  }
}
