/**
 * JPEG and WebP are decoded by mozjpeg (of libjpeg-turbo's family) and libwebp, compiled to WebAssembly: the same bytes in Node and in
 * every browser, equal to Pillow's, and whatever a damaged picture makes of them stays inside their memory. They are loaded with the
 * first picture that needs them.
 */
import { compileCodec } from "#codecs";
import { CogwheelError } from "../../base/errors.ts";
import type { CodecName } from "./wasm-codec.ts";

export interface Decoded {
  width: number;
  height: number;
  /** RGBA. */
  data: Uint8Array<ArrayBuffer>;
  /** What the decoder said of a picture that it decoded all the same. */
  complaints: string[];
}

/** What a package gives: a function that makes an instance around a compiled module. */
type Factory = (options: {
  noInitialRun: boolean;
  print: (line: string) => void;
  printErr: (line: string) => void;
  instantiateWasm: (imports: WebAssembly.Imports, done: (instance: WebAssembly.Instance) => void) => WebAssembly.Exports;
}) => Promise<{ decode(...given: [bytes: Uint8Array, turned?: boolean]): ImageData | null }>;

const FACTORIES: Record<CodecName, () => Promise<Factory>> = {
  jpeg: async () => (await import("@jsquash/jpeg/codec/dec/mozjpeg_dec.js")).default as unknown as Factory,
  webp: async () => (await import("@jsquash/webp/codec/dec/webp_dec.js")).default as unknown as Factory,
};

const compiled = new Map<CodecName, Promise<WebAssembly.Module>>();

/** Decodes pictures in one instance of a decoder, which is over with the first that it cannot decode. */
export interface PictureDecoder {
  /** Throws an Error with the decoder's own words. */
  decode(bytes: Uint8Array): Decoded;
}

export async function openCodec(name: CodecName): Promise<PictureDecoder> {
  let module: WebAssembly.Module;
  try {
    if (!compiled.has(name)) compiled.set(name, compileCodec(name));
    module = await compiled.get(name)!;
  } catch (error) {
    compiled.delete(name);
    throw new CogwheelError(
      "video",
      `the decoder of ${name} must be a WebAssembly module that can be compiled, got ${(error as Error).message}; ` +
        "on a page, its Content-Security-Policy must allow 'wasm-unsafe-eval'",
      { cause: error },
    );
  }
  let said: string[] = [];
  const factory = await FACTORIES[name]();
  const instance = await factory({
    noInitialRun: true,
    print: () => {},
    printErr: (line) => void said.push(line),
    instantiateWasm(imports, done) {
      const made = new WebAssembly.Instance(module, imports);
      done(made);
      return made.exports;
    },
  });
  return {
    decode(bytes) {
      said = [];
      let picture: ImageData | null;
      try {
        // The first would turn the picture itself, by an EXIF reader that knows less than ours.
        picture = name === "jpeg" ? instance.decode(bytes, false) : instance.decode(bytes);
      } catch (error) {
        // A C++ exception comes as a number, an exit as its status; what it said before is the reason.
        throw new Error(said.at(-1) ?? (error instanceof Error ? error.message : "an exception of the decoder"), { cause: error });
      }
      if (!picture) throw new Error(said.at(-1) ?? "data that cannot be decoded");
      const { width, height, data } = picture;
      return { width, height, data: new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.length), complaints: said };
    },
  };
}
