/** `cogwheel data caption --queue` and its workers as processes, one of which is killed: the ledger and the set are those of an address. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { type Asked, chatServer } from "../support/chat-server.ts";
import { useDataCommand } from "../support/data-command.ts";
import { type QueueWorker, queueWorker } from "../support/queue-worker.ts";

const { folder, run: data } = useDataCommand({ one: [1, 2], two: [3] });
const asking = (out: string): string[] => ["caption", "raw", "--out", out, "--frames", "17", "--model", "eyes"];
const answerTo = ({ body }: Pick<Asked, "body">): string => `Blotches drift, ${JSON.stringify(body).length % 97} of them.`;

/** What the ledger says, but for how long it took and in which order. */
const ledger = (out: string): string[] =>
  readFileSync(join(folder, out, ".curation/ledger.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.stringify({ ...JSON.parse(line), ms: 0 }))
    .filter((line) => line.includes('"caption.'))
    .sort();
const rows = (out: string): string => readFileSync(join(folder, out, "metadata.jsonl"), "utf8");

const worker = (url: string): QueueWorker => queueWorker(folder, "queue", ["--caption-url", url], { COGWHEEL_API_KEY: "k-workers" });

it("workers ask their servers, and one is killed -9 in the middle: the same ledger and set, nothing in the queue", async () => {
  const models = { data: [{ id: "eyes" }] };
  await using direct = await chatServer({ models, answer: answerTo });
  const alone = await data([...asking("alone"), "--url", direct.url, "--json"]);
  expect(alone.code, alone.err).toBe(0);
  let killing: Promise<void> | undefined;
  let lost: QueueWorker | undefined;
  await using stuck = await chatServer({
    models,
    answer() {
      killing ??= lost!.kill();
      return "stall";
    },
  });
  await using server = await chatServer({ models, answer: answerTo });
  lost = worker(stuck.url);
  await expect.poll(lost.text, { timeout: 30_000 }).toContain(`captions by ${stuck.url} from the folder`);
  const asked = data([...asking("queued"), "--queue", "queue", "--json"], { COGWHEEL_API_KEY: "k-asker" });
  await expect.poll(() => killing !== undefined, { timeout: 60_000 }).toBe(true);
  await killing;
  const other = worker(server.url);
  const queued = await asked;
  await other[Symbol.asyncDispose]();
  expect(queued.code, queued.err).toBe(0);
  expect(ledger("queued")).toEqual(ledger("alone"));
  expect(rows("queued")).toEqual(rows("alone"));
  // Limits and costs are of whoever asks.
  expect(JSON.parse(queued.out).caption).toEqual(JSON.parse(alone.out).caption);
  expect(server.asked).toHaveLength(direct.asked.length);
  expect(server.asked.every(({ headers }) => headers.authorization === "Bearer k-workers")).toBe(true);
  expect(readdirSync(join(folder, "queue/blobs"))).toEqual([]);
}, 120_000);

it("what contradicts itself is refused, with what to do", async () => {
  const refused = async (...more: string[]): Promise<string> => {
    const { code, err } = await data(["caption", "raw", "--out", "refused", "--frames", "17", "--queue", "queue", ...more]);
    expect(code, err).toBe(2);
    return err;
  };
  expect(await refused("--model", "eyes", "--url", "http://localhost:1/v1")).toContain("got --queue and url; leave one of them out");
  expect(await refused()).toContain("must name the model that workers ask, got none; give it with --model");
  expect(await refused("--model", "eyes", "--batch", "batch")).toContain("got --queue and --batch; leave one of them out");
}, 60_000);
