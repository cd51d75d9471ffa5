/** What is told of films that have none, and clips that are encoded at the rate of times that a container rounded. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { encodeClip } from "../../src/curation/film/cut.ts";
import { bytesTaskFile, runTask } from "../../src/curation/work/tasks.ts";
import { readClip } from "../../src/video/clip.ts";
import type { ReadFrame } from "../../src/video/read/reader.ts";

/** Of a shade that tells its number. */
const shaded = (n: number): Uint8Array => new Uint8Array(4 * 32 * 32).fill(20 + 5 * n);

it.each([
  [12, 1000, 30],
  [24, 1000, 30],
  [30000 / 1001, 1000, 30],
  [25, 90_000, 20],
])("has every picture once at %d a second, its times in 1/%d s", async (rate, clock, count) => {
  // As MKV and WebM have it: times in whole milliseconds, and the rate follows from the first and the last of them.
  const at = (n: number): number => Math.round((clock * n) / rate) / clock;
  async function* pictures(): AsyncGenerator<ReadFrame, void, undefined> {
    for (let n = 0; n < count + 5; n++) yield { width: 32, height: 32, data: shaded(n), seconds: at(n), duration: 1 / rate };
  }
  const [start, end] = [at(4), at(count)];
  const fps = Number(((count - 4) / (end - start)).toFixed(4));
  const { file, frames } = await encodeClip("film.mkv", pictures(), { start, end, frames: count - 4, fps }, () => {});
  expect(frames).toBe(count - 4);
  const read = await readClip(file, { fps, frames: 99, size: (width, height) => ({ width, height }) });
  const numbers = read.frames.map(({ data }) => Math.round((data[0]! - 20) / 5));
  expect(numbers).toEqual(Array.from({ length: count - 4 }, (_, i) => i + 4));
});

it.each([
  ["encrypted.mp4", "encrypted.mp4 must not be encrypted, got pictures that want a key; give the film without encryption"],
  ["encrypted-whole.mp4", "got parts that contradict each other, as of a film that is damaged or encrypted; download or copy it again"],
])("says that a film is encrypted: %s", async (name, words) => {
  const file = bytesTaskFile(name, Uint8Array.from(readFileSync(join("test/curation/fixtures", name))));
  await expect(runTask(file, { task: "scan" }, () => {})).rejects.toThrow(words);
});

it("says that a film was cut off before its index", async () => {
  const whole = Uint8Array.from(readFileSync("test/fuzz/seeds/h264.mp4"));
  const index = Buffer.from(whole).indexOf("moov") - 4;
  // The index lies in front in this one: what is left is what a recorder leaves whose battery went.
  const name = Buffer.from("free");
  const without = Uint8Array.from(whole);
  without.set(name, index + 4);
  await expect(runTask(bytesTaskFile("film.mp4", without), { task: "scan" }, () => {})).rejects.toThrow(
    "film.mp4 must have a video track, got none, as of a file that was cut off before its index; download or copy it again",
  );
});
