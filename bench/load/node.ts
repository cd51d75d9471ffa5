/** Loading in Node: from a file in the system's cache and over HTTP on loopback, beside `cat` of the same file. */
import { spawn } from "node:child_process";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { packageRoot } from "../../src/cli/package-root.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { folderSource } from "../../src/sources/folder.ts";
import { httpSource } from "../../src/sources/http.ts";
import type { CheckpointSource } from "../../src/sources/source.ts";
import { summarise, type Summary } from "../measure/statistics.ts";
import { fillPattern, measureLoad, type LoadFigures, type Place } from "./measure.ts";

/** The file that is loaded. */
export const FILE = "weights.bin";

export interface NodeLoad extends LoadFigures {
  /** `cat FILE > /dev/null` in a process of its own; without where there is no `cat`. */
  readonly cat?: Summary;
}

/** Writes the file that is loaded. */
export async function writePattern(folder: string, bytes: number): Promise<void> {
  await using file = await open(join(folder, FILE), "w");
  const piece = new Uint8Array(8 << 20);
  for (let at = 0; at < bytes; at += piece.length) {
    const part = piece.subarray(0, Math.min(piece.length, bytes - at));
    fillPattern(part, at);
    await file.writeFile(part);
  }
}

/** Bytes of a source's file, into memory that is given. */
const readOf =
  (source: CheckpointSource): Place["read"] =>
  async (start, into) => {
    const got = await source.read(FILE, start, start + into.length, into);
    if (got.buffer !== into.buffer || got.byteOffset !== into.byteOffset) into.set(got);
  };

export async function measureNodeLoad(gpu: Gpu, folder: string, bytes: number, runs: number): Promise<NodeLoad> {
  await writePattern(folder, bytes);
  await using server = await serveApart(folder);
  await using disk = await folderSource(folder);
  await using http = httpSource(server.url);
  await measureCat([join(folder, FILE)]); // the first one may bring the file from the disk
  const rates: number[] = [];
  for (let i = 0; i < runs; i++) rates.push(bytes / 1e6 / (await measureCat([join(folder, FILE)])));
  const figures = await measureLoad(
    gpu,
    [
      { name: "file", read: readOf(disk) },
      { name: "HTTP", read: readOf(http) },
    ],
    bytes,
    runs,
  );
  return { ...figures, ...(rates.some(Number.isNaN) ? {} : { cat: summarise(rates) }) };
}

/** Milliseconds of `cat FILES > /dev/null` in a process of its own; NaN where there is no `cat`. */
export async function measureCat(files: readonly string[]): Promise<number> {
  const begun = performance.now();
  const child = spawn("cat", files, { stdio: "ignore" });
  const code = await new Promise<number | null>((done) => child.on("close", done).on("error", () => done(null)));
  return code === 0 ? performance.now() - begun : NaN;
}

/** Serves a folder on loopback from a process of its own, so that what is sent takes no time of the thread that receives it. */
export async function serveApart(folder: string): Promise<{ readonly url: string } & AsyncDisposable> {
  const child = spawn(process.execPath, [join(packageRoot, "dist", "bench", "load-server.js"), folder], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const ended = new Promise<void>((resolve) => child.on("close", () => resolve()));
  const { value } = (await createInterface({ input: child.stdout })[Symbol.asyncIterator]().next()) as { value: string | undefined };
  if (!value) throw new Error("the server of the bench must tell its address, got none");
  return {
    url: value,
    async [Symbol.asyncDispose]() {
      child.stdin.end();
      await ended;
    },
  };
}
