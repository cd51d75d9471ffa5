/**
 * What encoding a film needs of mediabunny. A module of its own, loaded when it is needed: a bundler keeps
 * these of the library, a third of it, and no more.
 */
export {
  BufferTarget,
  getFirstEncodableVideoCodec,
  Mp4OutputFormat,
  Output,
  Quality,
  VideoSample,
  VideoSampleSource,
  WebMOutputFormat,
} from "mediabunny";
