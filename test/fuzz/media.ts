/**
 * Damaged films and pictures through `decodeVideo`, in its own sandbox: refused in words, or read for what the file says. What makes the
 * sandbox end its reader (no progress, memory, a crash) is a refusal too, and is counted by itself.
 */
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { decodeVideo, type DecodedVideo } from "../../src/video/decode.ts";
import { Mutator } from "../support/mutate.ts";
import { inputs, isRefusal, within, type FuzzKind, type Tally } from "./kind.ts";
import { damage, type Damaged, type Seed } from "./media-damage.ts";

/**
 * A damaged film that the demuxer gets no further with is ended after so many seconds, an answer
 * that does not come is a fault after many more.
 */
const SECONDS = 4;
const WATCHDOG_S = 60;
const LIMITS = { seconds: SECONDS, memory: 2 ** 30, pixels: 2 ** 24, bytes: 2 ** 28 };

/** The whole files, and what each is read as; `refused` is told of one that is not. */
export async function seeds(refused: (text: string) => void, folder = "test/fuzz/seeds"): Promise<Seed[]> {
  const all: Seed[] = [];
  for (const name of (await readdir(folder)).filter((name) => !name.endsWith(".py")).sort()) {
    const bytes = new Uint8Array(await readFile(join(folder, name)));
    try {
      const { width, height, frames } = await decodeVideo(bytes);
      all.push({ name, bytes, width, height, frames: frames.length });
    } catch (error) {
      refused(`${name} must be read while it is whole, got ${(error as Error).message}`);
    }
  }
  return all;
}

/** What is wrong with what was read, if anything is. */
export function wrong(video: DecodedVideo, { says }: Damaged, warnings: readonly string[]): string | undefined {
  const { width, height, fps, frames } = video;
  if (frames.length === 0) return "no frames";
  if (frames.some((frame) => frame.width !== width || frame.height !== height || frame.data.length !== 4 * width * height))
    return "frames of other sizes";
  if (width * height > LIMITS.pixels || frames.length * width * height * 4 > LIMITS.bytes) return "more than the limits allow";
  if (fps !== undefined && !(fps > 0 && Number.isFinite(fps))) return `${fps} frames a second`;
  if (
    frames.some(({ data }) => {
      for (let at = 3; at < data.length; at += 4) if (data[at] !== 255) return true;
      return false;
    })
  )
    return "alpha that is not dropped";
  if (!says) return undefined;
  if (width !== says.width || height !== says.height) return `${width}×${height} where the file says ${says.width}×${says.height}`;
  if (frames.length < says.frames && warnings.length === 0) return `${frames.length} of ${says.frames} frames without a warning`;
  return frames.length > says.frames ? `${frames.length} frames where the file says ${says.frames}` : undefined;
}

export const media: FuzzKind = {
  about: "films and pictures with bits flipped, cut, spliced",
  count: 5000,
  async run(options, tally) {
    const all = await seeds((text) => tally.faults.push(text));
    const ended = { "no progress": 0, memory: 0, crash: 0 };
    let warned = 0;
    // An error of a library's own that no reader put into words: told in words by the sandbox, and here with where it comes from.
    const foreign = ({ message, cause }: Error, input: string): void =>
      options.log(`no reader's words: ${input}: ${message}; ${String((cause as Error | undefined)?.message).slice(0, 600)}`);
    for (const { index, seed } of inputs(options)) {
      const m = new Mutator(seed);
      const from = all[index % all.length]!;
      const damaged = damage(m, from, m.pick(all));
      const input = `${from.name}, ${damaged.what} (--seed ${options.seed} --index ${index})`;
      const warnings: string[] = [];
      const settled = await within(WATCHDOG_S, decodeVideo(damaged.bytes, { limits: LIMITS, onWarning: (text) => warnings.push(text) }));
      const faults = tally.faults.length;
      if (settled === "hang") tally.add("hang", input, `no answer in ${WATCHDOG_S} s`);
      else if ("error" in settled) {
        tally.thrown(settled.error, input);
        if (isRefusal(settled.error)) {
          const { message } = settled.error;
          if (/whole file of its kind/.test(message)) foreign(settled.error, input);
          if (/made no progress/.test(message)) ended["no progress"]++;
          else if (/of memory, got/.test(message)) ended.memory++;
          else if (/process ended with/.test(message)) ended.crash++;
          else continue;
          options.log(`the reader was ended: ${input}: ${message.slice(0, 160)}`);
        }
      } else {
        const what = wrong(settled.value, damaged, warnings);
        if (warnings.length) warned++;
        tally.add(what ? "silent wrong" : "read", input, what);
      }
      if (tally.faults.length > faults) await keep(options.keep, `media-${options.seed}-${index}-${from.name}`, damaged.bytes, tally);
    }
    options.log(
      `${warned} were read with a warning; readers that had to be ended: ${Object.entries(ended)
        .map(([why, n]) => `${n} ${why}`)
        .join(", ")}`,
    );
  },
};

async function keep(folder: string, name: string, bytes: Uint8Array, tally: Tally): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, name), bytes);
  tally.faults.push(`${tally.faults.pop()!} — kept as ${join(folder, name)}`);
}
