/**
 * node test/video/films/decode.mjs FILE OUT: decodes a film with the built package and nothing else in the process, and writes its
 * frames as raw RGB. Prints one line of JSON: { width, height, frames, seconds, warnings } or { error }. COGWHEEL_DIST: another build
 * than the checkout's.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const here = import.meta.dirname ?? new URL(".", import.meta.url).pathname;
const { decodeVideo } = await import(pathToFileURL(process.env.COGWHEEL_DIST ?? join(here, "../../../dist/node.js")).href);
const [file, out, most] = process.argv.slice(2);
const warnings = [];
try {
  const begin = performance.now();
  const { width, height, fps, frames } = await decodeVideo(file, {
    ...(most ? { maxFrames: Number(most) } : {}),
    onWarning: (text) => warnings.push(text),
  });
  const seconds = (performance.now() - begin) / 1000;
  if (out) {
    const rgb = new Uint8Array(3 * width * height * frames.length);
    let to = 0;
    for (const { data } of frames) {
      const channels = data.length / (width * height);
      for (let at = 0; at < data.length; at += channels) {
        rgb[to++] = data[at];
        rgb[to++] = data[at + 1];
        rgb[to++] = data[at + 2];
      }
    }
    writeFileSync(out, rgb);
  }
  console.log(JSON.stringify({ width, height, fps, frames: frames.length, seconds, warnings }));
} catch (error) {
  console.log(JSON.stringify({ error: error.message, kind: error.name, warnings }));
}
