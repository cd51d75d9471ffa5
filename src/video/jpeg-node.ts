/** Frames as JPEG files, in Node: mozjpeg as WebAssembly, of the package that decodes them too. */
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { withChannels, type Frame } from "./frame.ts";

type Encoder = Awaited<ReturnType<typeof import("@jsquash/jpeg/codec/enc/mozjpeg_enc.js")["default"]>>;
let opening: Promise<Encoder> | undefined;

async function open(): Promise<Encoder> {
  const { default: factory } = await import("@jsquash/jpeg/codec/enc/mozjpeg_enc.js");
  const path = createRequire(import.meta.url).resolve("@jsquash/jpeg/codec/enc/mozjpeg_enc.wasm");
  const module = await WebAssembly.compile(await readFile(path));
  return await factory({
    noInitialRun: true,
    instantiateWasm(imports: WebAssembly.Imports, done: (instance: WebAssembly.Instance) => void) {
      const made = new WebAssembly.Instance(module, imports);
      done(made);
      return made.exports;
    },
  } as unknown as Parameters<typeof factory>[0]);
}

/** The frame as a baseline JPEG, which every server reads: the same bytes each time. @param quality 1 to 100 */
export async function encodeJpeg(frame: Frame, quality: number): Promise<Uint8Array<ArrayBuffer>> {
  const encoder = await (opening ??= open());
  const made = encoder.encode(withChannels(frame, 4) as Uint8Array<ArrayBuffer>, frame.width, frame.height, {
    quality,
    baseline: true,
    arithmetic: false,
    progressive: false,
    optimize_coding: true,
    smoothing: 0,
    color_space: 3, // YCbCr
    quant_table: 0, // the standard's own
    trellis_multipass: false,
    trellis_opt_zero: false,
    trellis_opt_table: false,
    trellis_loops: 1,
    auto_subsample: true,
    chroma_subsample: 2,
    separate_chroma_quality: false,
    chroma_quality: quality,
  });
  return made.slice() as Uint8Array<ArrayBuffer>; // the next one is written over it
}
