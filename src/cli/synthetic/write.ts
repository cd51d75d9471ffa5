/**
 * A folder with the files of a published checkpoint, at its true shapes, in as many shards and under the same names, with random weights:
 * what loading, streaming and planning do with it they do with the published one. Memory stays at two pieces of a file.
 */
import { copyFile, mkdir, open, readdir, rename, rm, stat, statfs, writeFile } from "node:fs/promises";
import { rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { CogwheelError } from "../../base/errors.ts";
import { elements } from "../../base/shape.ts";
import { bytesText } from "../../base/units.ts";
import type { PublishedModel } from "../../pipelines/cogvideox/published-models.ts";
import { removeLeftovers, temporaryName } from "../../platform/leftovers-node.ts";
import { EMBEDDED_MODEL } from "../package-root.ts";
import { normalTable, TensorDraw } from "./draw.ts";
import { scaleOf } from "./scale.ts";
import { shardIndex, shardsOf, type Shard, type ShardOptions, type SyntheticTensor } from "./shards.ts";

export interface SyntheticOptions extends ShardOptions {
  /** Seed of the weights, a whole number from 0. Default 0. */
  readonly seed?: number;
  readonly signal?: AbortSignal;
  /** Bytes written, of all. */
  readonly onProgress?: (done: number, total: number, file: string) => void;
}

/** Bytes that are drawn, then written while the next ones are drawn. */
const PIECE = 8 << 20;

const CLASSES: Readonly<Record<string, readonly [library: string, className: string]>> = {
  text_encoder: ["transformers", "T5EncoderModel"],
  tokenizer: ["transformers", "T5Tokenizer"],
  transformer: ["diffusers", "CogVideoXTransformer3DModel"],
  vae: ["diffusers", "AutoencoderKLCogVideoX"],
};

/**
 * Writes the checkpoint and tells its size. Components that stand in the folder already are not touched: one that is asked for again is
 * refused, and model_index.json names those that are there with the new ones.
 */
export async function writeSynthetic(
  model: PublishedModel,
  folder: string,
  options: SyntheticOptions = {},
): Promise<{ bytes: number; files: number }> {
  const { seed = 0 } = options;
  const { configs, shards } = shardsOf(model, options);

  await mkdir(folder, { recursive: true });
  for (const part of shards.keys()) {
    const there = (await readdir(join(folder, part)).catch(() => [])).filter((file) => !file.startsWith("."));
    if (there.length)
      throw refused(`${join(folder, part)} must be empty or not exist yet, got ${there[0]}; choose another folder, or remove it`);
  }
  const total = [...shards.values()].flat().reduce((sum, { bytes }) => sum + bytes, 0);
  const { bavail, bsize } = await statfs(folder);
  if (total > bavail * bsize)
    throw refused(
      `the disk of ${folder} must have room for ${bytesText(total)}, got ${bytesText(bavail * bsize)} free; ` +
        "make room, choose another disk, or fewer layers or components",
    );

  let done = 0;
  for (const [part, files] of shards) {
    await mkdir(join(folder, part), { recursive: true });
    await removeLeftovers(join(folder, part));
    for (const shard of files) {
      const before = done;
      const draw = (name: string, { dtype, shape }: SyntheticTensor): TensorDraw =>
        new TensorDraw(seed, `${part}/${name}`, normalTable(scaleOf(name, shape, configs[part]), dtype));
      await writeShard(join(folder, shard.path), shard, draw, options.signal, (bytes) => {
        done = before + bytes;
        options.onProgress?.(done, total, shard.path);
      });
    }
    const index = shardIndex(files);
    if (index) await writeJson(folder, index.path, index.json);
    await writeJson(folder, `${part}/config.json`, configs[part]);
  }
  await writeJson(folder, "scheduler/scheduler_config.json", configs.scheduler);
  await writeTokenizer(folder, Number(configs.transformer["max_text_seq_length"]));
  await writeJson(folder, "model_index.json", await modelIndex(folder, model));
  return { bytes: total, files: [...shards.values()].flat().length };
}

const refused = (rule: string): CogwheelError => new CogwheelError("synthetic", rule);

/** Under a temporary name until it is whole. */
async function writeShard(
  path: string,
  { head, order }: Shard,
  drawOf: (name: string, tensor: SyntheticTensor) => TensorDraw,
  signal: AbortSignal | undefined,
  onProgress: (bytes: number) => void,
): Promise<void> {
  const temporary = join(dirname(path), temporaryName(path));
  const atExit = (): void => rmSync(temporary, { force: true });
  process.once("exit", atExit);
  const file = await open(temporary, "wx");
  // One piece is drawn while the other is written.
  const pieces = [new Uint16Array(PIECE / 2), new Uint16Array(PIECE / 2)] as const;
  let pending: Promise<unknown> = Promise.resolve();
  try {
    await file.writeFile(head);
    let at = head.length;
    let turn = 0;
    for (const [name, tensor] of order) {
      const draw = drawOf(name, tensor);
      for (let left = elements(tensor.shape); left > 0; ) {
        signal?.throwIfAborted();
        const piece = pieces[turn++ % 2]!.subarray(0, Math.min(left, PIECE / 2));
        draw.fill(piece);
        await pending;
        pending = writeAll(file, piece, at);
        pending.catch(() => undefined); // it is awaited after the next piece is drawn
        at += piece.byteLength;
        left -= piece.length;
        onProgress(at);
      }
    }
    await pending;
    await file.sync();
    await file.close();
    await rename(temporary, path);
  } finally {
    process.off("exit", atExit);
    await pending.catch(() => undefined);
    await file.close().catch(() => undefined);
    await rm(temporary, { force: true });
  }
}

/** A write may take less than it is given. */
async function writeAll(file: Awaited<ReturnType<typeof open>>, data: Uint16Array<ArrayBuffer>, at: number): Promise<void> {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  for (let done = 0; done < bytes.length; ) done += (await file.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
}

async function writeJson(folder: string, path: string, value: object): Promise<void> {
  await mkdir(dirname(join(folder, path)), { recursive: true });
  await writeFile(join(folder, path), `${JSON.stringify(value, null, 2)}\n`);
}

/** That of the embedded checkpoint: the published one's vocabulary is not ours to give, and every id of this one is below its size. */
async function writeTokenizer(folder: string, length: number): Promise<void> {
  await writeJson(folder, "tokenizer/tokenizer_config.json", { tokenizer_class: "T5Tokenizer", model_max_length: length, extra_ids: 0 });
  await copyFile(join(EMBEDDED_MODEL, "tokenizer", "spiece.model"), join(folder, "tokenizer", "spiece.model"));
}

async function modelIndex(folder: string, model: PublishedModel): Promise<object> {
  const listed: [string, readonly string[]][] = [];
  for (const [part, pair] of Object.entries(CLASSES))
    if (part === "tokenizer" || (await isFile(join(folder, part, "config.json")))) listed.push([part, pair]);
  listed.push(["scheduler", ["diffusers", String(model.configs.scheduler["_class_name"])]]);
  return { _class_name: model.className, _synthetic: `${model.title} with random weights`, ...Object.fromEntries(listed.sort()) };
}

const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (info) => info.isFile(),
    () => false,
  );
