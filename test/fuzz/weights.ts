/**
 * Damaged weights, indices, configs, tokenizers, adapters, latents and cases through the public doors. They are read in a process of
 * their own, which says before each what it reads: one that says nothing for too long hangs and is ended, one that ends by itself has
 * died of its file.
 */
import { fork, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { CogwheelError } from "../../src/base/errors.ts";
import { Gpu } from "../../src/gpu/gpu.ts";
import { Mutator } from "../support/mutate.ts";
import { removeTinyCheckpoints } from "../support/tiny-checkpoint.ts";
import { inputs, isRefusal, type FuzzKind, type FuzzOptions } from "./kind.ts";
import { quantizedDamages } from "./quantized-damage.ts";
import { damages, Wrong } from "./weights-damage.ts";

const SECONDS = 60;
const MARK = "COGWHEEL_FUZZ_WEIGHTS";
/** What the child is told. */
type Task = Pick<FuzzOptions, "count" | "seed" | "index" | "adapter"> & { readonly first: number; readonly list: keyof typeof LISTS };
/** What it says of an input: that it begins, or what became of it. */
type Word = { index: number; name: string } & (
  | { begins: true }
  | { refused: true }
  | { foreign: string }
  | { wrong: string }
  | { read: true }
);

/** What is damaged. */
const LISTS = { weights: damages, quantized: quantizedDamages };

/** A kind that reads damaged files of a list, in a process apart. */
const damagedFiles = (list: keyof typeof LISTS, about: string, count: number): FuzzKind => ({
  about,
  count,
  async run({ count, seed, index, adapter, log }, tally) {
    const kinds = new Map<string, { tried: number; refused: number }>();
    let first = index ?? 0;
    const end = index === undefined ? count : index + 1;
    while (first < end) {
      const task: Task = { list, count, seed, first, ...(index === undefined ? {} : { index }), ...(adapter ? { adapter } : {}) };
      let last: Word | undefined;
      const why = await listen(
        fork(fileURLToPath(import.meta.url), {
          env: { ...process.env, [MARK]: JSON.stringify(task) },
          execArgv: ["--max-old-space-size=2048"],
          stdio: ["ignore", "ignore", "pipe", "ipc"],
        }),
        (word) => {
          last = word;
          const input = `${word.name} (--seed ${seed} --index ${word.index})`;
          if ("begins" in word) return;
          const kind = kinds.get(word.name) ?? { tried: 0, refused: 0 };
          kinds.set(word.name, { tried: kind.tried + 1, refused: kind.refused + Number("refused" in word) });
          if ("refused" in word) tally.add("refused", input);
          else if ("foreign" in word) tally.add("foreign error", input, word.foreign);
          else if ("wrong" in word) tally.add("silent wrong", input, word.wrong);
          else tally.add("read", input);
        },
      );
      if (last === undefined) throw new CogwheelError("fuzz", `the process that reads must begin, got ${why}; run it with --index 0`);
      if ("begins" in last) tally.add(why === "silence" ? "hang" : "death", `${last.name} (--seed ${seed} --index ${last.index})`, why);
      first = last.index + 1;
    }
    for (const [name, { tried, refused }] of kinds) log(`${name}: ${tried} tried, ${refused} refused`);
  },
});

export const weights = damagedFiles("weights", "damaged weights, indices, configs, tokenizers, adapters, latents and cases", 10_000);
export const quantized = damagedFiles("quantized", "damaged GGUF, fp8 and safetensors with blocks, in components' places", 2000);

/** Hears a child out; says how it ended. */
function listen(child: ChildProcess, hear: (word: Word) => void): Promise<string> {
  return new Promise((resolve) => {
    let silent = false;
    let stderr = "";
    const late = () =>
      setTimeout(() => {
        silent = true;
        child.kill("SIGKILL");
      }, 1000 * SECONDS);
    let timer = late();
    child.stderr!.on("data", (text: Buffer) => (stderr = (stderr + String(text)).slice(-2000)));
    child.on("message", (word) => {
      clearTimeout(timer);
      timer = late();
      hear(word as Word);
    });
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      resolve(silent ? "silence" : `the process ended with ${signal ?? code}: ${stderr.slice(-500)}`);
    });
  });
}

/** The child: reads the inputs from `first` on. */
async function read({ adapter, first, list, ...options }: Task): Promise<void> {
  const say = (word: Word) =>
    new Promise<void>((sent, failed) => process.send!(word, (error: Error | null) => (error ? failed(error) : sent())));
  const gpu = await Gpu.open(adapter ? { adapter } : {});
  const all = (await LISTS[list](gpu)).flatMap((damage) => new Array<typeof damage>(damage.share).fill(damage));
  for (const { index, seed } of inputs(options)) {
    if (index < first) continue;
    const { name, draw } = all[index % all.length]!;
    await say({ index, name, begins: true });
    try {
      await draw(new Mutator(seed))();
      await say({ index, name, read: true });
    } catch (error) {
      if (error instanceof Wrong) await say({ index, name, wrong: error.message });
      else if (isRefusal(error)) await say({ index, name, refused: true });
      else
        await say({
          index,
          name,
          foreign: error instanceof Error ? `${error.name}: ${error.message.slice(0, 300)}\n${error.stack?.slice(0, 1500)}` : String(error),
        });
    }
  }
  await removeTinyCheckpoints();
  process.exit();
}

if (process.env[MARK]) await read(JSON.parse(process.env[MARK]) as Task);
