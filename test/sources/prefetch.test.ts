/** Ranges that are told beforehand: how many requests they become, how many are under way, and that bytes are what they would be. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { CogVideoX } from "../../src/index.ts";
import { httpSource } from "../../src/sources/http.ts";
import { PIECE_BYTES } from "../../src/sources/prefetch.ts";
import type { FileRange } from "../../src/sources/source.ts";
import { serveFolder } from "../../web/server.ts";

const MiB = 1 << 20;
const FILE = new Uint8Array(new Uint32Array(12 * MiB).map((_, i) => Math.imul(i, 2654435761)).buffer);
/** What a server at some distance takes for each answer. */
const DELAY_MS = 60;

let server: Server;
let address: string;
let asked: string[];
let underWay: number;
let most: number;
let broken: boolean;

beforeAll(async () => {
  server = createServer((request, response) => {
    asked.push(request.headers.range!);
    most = Math.max(most, ++underWay);
    setTimeout(() => {
      underWay--;
      if (broken) return void response.writeHead(404).end();
      const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range!)!.map(Number);
      response.writeHead(206, { "content-range": `bytes ${first}-${last}/${FILE.length}`, etag: '"1"' });
      response.end(FILE.subarray(first, last! + 1));
    }, DELAY_MS);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
});
beforeEach(() => {
  asked = [];
  [underWay, most, broken] = [0, 0, false];
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

/** Weights of a layer, end to end; each begins where it begins in a file, which is at no round number. */
function weights(count: number, bytes: number): FileRange[] {
  return Array.from({ length: count }, (_, i) => ({ path: "w", start: 1234 + i * bytes, end: 1234 + (i + 1) * bytes }));
}
/** In the order in which a network has them, which is not that of their names. */
const inUse = (ranges: readonly FileRange[]): FileRange[] => ranges.map((_, i) => ranges[(i * 7) % ranges.length]!);

test("neighbours come in requests of 8 MiB, at most six at once, and are what they are", async () => {
  await using source = httpSource(address);
  const told = inUse(weights(450, 100_001));
  using over = { controller: new AbortController(), [Symbol.dispose]: () => over.controller.abort() };
  source.prefetch!(told, over.controller.signal);
  const began = performance.now();
  const next = told[Symbol.iterator]();
  const one = async (): Promise<void> => {
    for (const { path, start, end } of next)
      expect(Buffer.compare(await source.read(path, start, end), FILE.subarray(start, end)), `bytes ${start} to ${end}`).toBe(0);
  };
  await Promise.all(Array.from({ length: 16 }, one));
  const bytes = 450 * 100_001;
  // The first asks for the size.
  expect(asked.length - 1, "requests").toBe(Math.ceil(bytes / PIECE_BYTES));
  expect(most).toBeLessThanOrEqual(6);
  console.log(`${bytes} bytes in ${asked.length} requests, ${Math.round(performance.now() - began)} ms at ${DELAY_MS} ms each`);
});

test("what is not read is bounded, whatever is told; a hole is not fetched", async () => {
  await using source = httpSource(address);
  const over = new AbortController();
  await source.size("w");
  source.prefetch!(
    weights(40, MiB).filter((_, i) => i % 5 !== 4),
    over.signal,
  );
  await new Promise((done) => setTimeout(done, 10 * DELAY_MS));
  const ranges = asked.slice(1).map((range) => /(\d+)-(\d+)/.exec(range)!.slice(1).map(Number) as [number, number]);
  expect(ranges).toEqual(Array.from({ length: 8 }, (_, i) => [1234 + 5 * i * MiB, 1234 + (5 * i + 4) * MiB - 1]));
  over.abort();
});

test("what was not told, and what is forgotten, is asked for by itself", async () => {
  await using source = httpSource(address);
  const over = new AbortController();
  source.prefetch!(weights(2, 1000), over.signal);
  expect(await source.read("w", 0, 8)).toEqual(FILE.slice(0, 8));
  expect(await source.read("w", 1300, 1400)).toEqual(FILE.slice(1300, 1400));
  over.abort();
  expect(await source.read("w", 1300, 1400)).toEqual(FILE.slice(1300, 1400));
  expect(asked.sort()).toEqual(["bytes=0-0", "bytes=0-7", "bytes=1234-3233", "bytes=1300-1399"]);
});

test("what fails is told to those who wait for it, and asked for anew by who comes later", async () => {
  await using source = httpSource(address);
  const over = new AbortController();
  await source.size("w");
  broken = true;
  source.prefetch!(weights(2, 1000), over.signal);
  await expect(source.read("w", 1300, 1400)).rejects.toThrow("the server must answer 206, got 404");
  broken = false;
  expect(await source.read("w", 1300, 1400)).toEqual(FILE.slice(1300, 1400));
  over.abort();
});

test("a load that is given up gives up what is under way", async () => {
  await using source = httpSource(address);
  const over = new AbortController();
  await source.size("w");
  source.prefetch!(weights(2, 1000), over.signal);
  const read = source.read("w", 1300, 1400, undefined, over.signal);
  over.abort(new Error("enough"));
  await expect(read).rejects.toThrow("enough");
});

test("a generation's weights come so", async () => {
  await using files = await serveFolder("models/moving-shapes");
  await using model = await CogVideoX.open(files.url);
  const prompt = "a red circle moving left on a black background";
  const before = files.log.length;
  await model.generate({ prompt, steps: 1, frames: 1, cache: false });
  const weights = files.log.slice(before).filter((line) => /(transformer|vae)\/.*safetensors$/.test(line));
  expect(weights).toEqual(["transformer", "vae"].map((part) => `206 ${part}/diffusion_pytorch_model.safetensors`));
});
