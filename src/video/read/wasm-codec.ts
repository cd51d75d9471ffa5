/** The pictures whose decoders are WebAssembly. */
export type CodecName = "jpeg" | "webp";
