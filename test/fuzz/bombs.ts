/**
 * Files that ask for far more than they hold, of every format that is read, through decodeVideo as an app calls it. Each must be
 * refused in words or read within the limits: in two minutes, and with no more memory in this process than the frames that one call may
 * give.
 */
import { decodeVideo } from "../../src/video/decode.ts";
import { DEFAULT_LIMITS } from "../../src/video/read/limits.ts";
import { FILM_BOMBS } from "./bomb-films.ts";
import { PICTURE_BOMBS } from "./bomb-pictures.ts";
import { inputs, within, type FuzzKind } from "./kind.ts";

export const BOMBS = { ...PICTURE_BOMBS, ...FILM_BOMBS };
const SECONDS = 120;

export const bombs: FuzzKind = {
  about: "decompression and dimension bombs of every format of films and pictures, through decodeVideo",
  count: 200,
  async run(options, tally) {
    const names = Object.keys(BOMBS);
    for (const { index, draw } of inputs(options)) {
      // Each once; then those in which something is drawn.
      const name = index < names.length ? names[index]! : names.at(-1)!;
      const again = `${name}: npm run fuzz -- bombs --seed ${options.seed} --index ${index}`;
      const bytes = BOMBS[name]!(draw);
      const before = process.memoryUsage.rss();
      const controller = new AbortController();
      const from = performance.now();
      const settled = await within(SECONDS, decodeVideo(bytes, { signal: controller.signal }));
      const [seconds, mebibytes] = [(performance.now() - from) / 1000, (process.memoryUsage.rss() - before) / 2 ** 20];
      controller.abort();
      if (settled === "hang") tally.add("hang", again, `no answer after ${SECONDS} s`);
      else if (mebibytes > DEFAULT_LIMITS.bytes / 2 ** 20 + 512)
        tally.add("death", again, `${mebibytes.toFixed(0)} MiB more in this process`);
      else if ("error" in settled) tally.thrown(settled.error, again);
      else {
        const { width, height, frames } = settled.value;
        const size = frames.some(({ data }) => data.length !== 4 * width * height);
        tally.add(size ? "silent wrong" : "read", again, size ? "a frame of another size" : "");
      }
      if (seconds > 2) options.log(`${name}: ${seconds.toFixed(1)} s, ${mebibytes.toFixed(0)} MiB`);
    }
  },
};
