/** The decoders of JPEG and WebP for Node, from the packages as npm installed them. */
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import type { CodecName } from "./wasm-codec.ts";

const FILES: Record<CodecName, string> = {
  jpeg: "@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm",
  webp: "@jsquash/webp/codec/dec/webp_dec.wasm",
};

export async function compileCodec(name: CodecName): Promise<WebAssembly.Module> {
  return await WebAssembly.compile(await readFile(createRequire(import.meta.url).resolve(FILES[name])));
}
