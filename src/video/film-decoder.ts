/** What decoding takes of mediabunny, and its readers of the formats that we promise, so that a bundle holds no more of it. */
export { BufferSource, Input, MATROSKA, MP4, QTFF, VideoSampleSink, WEBM } from "mediabunny";
