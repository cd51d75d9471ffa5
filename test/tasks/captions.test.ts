/** Requests for captions over a queue: the asker's endpoint keeps its tries, limits and costs, and workers send what their servers serve. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Endpoint } from "../../src/curation/endpoint/endpoint.ts";
import { Account } from "../../src/curation/endpoint/spent.ts";
import { CaptionDoer } from "../../src/tasks/caption-work.ts";
import { QueuedChat } from "../../src/tasks/captions.ts";
import { queuedTasks } from "../../src/tasks/lists.ts";
import { TaskWork } from "../../src/tasks/work.ts";
import { chatServer, saidIn } from "../support/chat-server.ts";
import { jobQueues, type TestQueue } from "../support/job-queues.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogwheel-captions-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const question = (text: string) => ({ system: "You describe.", parts: [{ text }], maxTokens: 100 });

describe.each(jobQueues)("in %s", (where, open) => {
  let queue: TestQueue;
  let count = 0;
  beforeEach(async () => {
    queue = await open(join(folder, `${where}-${++count}`.replace(/ /g, "-")));
  });
  afterEach(async () => {
    await queue[Symbol.asyncDispose]();
    await queue.end?.();
  });

  const asks = (): QueuedChat =>
    new QueuedChat(queue, { id: "abcd", version: "1", model: "eyes", signal: new AbortController().signal, timeoutSeconds: 5 });
  const endpoint = (chat: QueuedChat, account = new Account()): Endpoint =>
    new Endpoint({ url: "http://queue/v1", model: "eyes", fetch: chat.fetch, timeoutSeconds: 86_400, account, inputPerMillion: 1e4 });

  /** A worker that takes hints until it is disposed of. */
  function worker(url: string) {
    const ended = new AbortController();
    const notes: string[] = [];
    const doer = new CaptionDoer({ url, key: "k-worker" });
    const work = new TaskWork(queue, { id: "worker", version: "1", leaseMs: 600, onNote: (note) => notes.push(note) }, [doer]);
    const loop = (async () => {
      while (!ended.signal.aborted) await work.take(await queue.hints.pull(ended.signal), [], ended.signal, () => undefined);
    })().catch((error: unknown) => {
      if (!ended.signal.aborted) throw error;
    });
    return {
      notes,
      async [Symbol.asyncDispose]() {
        ended.abort();
        await loop;
        await work[Symbol.asyncDispose]();
      },
    };
  }

  it("several at a time; a server that is busy is asked again, and limits hold where the requests come from", async () => {
    let busy = 0;
    await using server = await chatServer({
      models: { data: [{ id: "eyes" }] },
      answer: (asked) => (saidIn(asked) === "2" && busy++ === 0 ? { status: 503 } : `It is ${saidIn(asked)}.`),
    });
    await using chat = asks();
    await using one = worker(server.url);
    const account = new Account({ maxRequests: 6 });
    const asker = endpoint(chat, account);
    // Two of them are alike.
    const answers = await Promise.all(["1", "2", "3", "3"].map((text) => asker.chat(question(text))));
    expect(answers.map(({ text, cost }) => [text, cost])).toEqual(["1", "2", "3", "3"].map((text) => [`It is ${text}.`, 1]));
    expect(account.spent).toMatchObject({ requests: 5, inputTokens: 400, cost: 4 });
    expect(server.asked.every(({ headers }) => headers.authorization === "Bearer k-worker")).toBe(true);
    expect(one.notes).toEqual(["tasks.abcd: takes part (caption)"]);
    await asker.chat(question("4"));
    await expect(asker.chat(question("5"))).rejects.toThrow("requests must stay within maxRequests, got 6 sent");
    expect(server.asked).toHaveLength(6);
    expect(await queuedTasks(queue.values)).toMatchObject([{ kind: "caption", model: "eyes", done: 6, all: 6, waiting: 0, asked: true }]);
    await chat[Symbol.asyncDispose]();
    expect(await queue.values.keys("")).toEqual([]);
  }, 60_000);

  it("a worker whose server has another model, or does not answer, leaves requests to others and says why", async () => {
    await using other = await chatServer({ models: { data: [{ id: "ears" }] }, answer: () => "wrong" });
    await using server = await chatServer({ models: { data: [{ id: "eyes:latest" }] }, answer: () => "It is." });
    await using chat = asks();
    const answer = endpoint(chat).chat(question("1"));
    {
      await using wrong = worker(other.url);
      await expect.poll(() => wrong.notes, { timeout: 20_000 }).toHaveLength(1);
      expect(wrong.notes[0]).toBe(`tasks.abcd: left to others: it asks for the model eyes, and ${other.url} serves ears`);
      await using gone = worker("http://127.0.0.1:1/v1");
      await expect.poll(() => gone.notes, { timeout: 20_000 }).toHaveLength(1);
      expect(gone.notes[0]).toMatch(/left to others: http:\/\/127\.0\.0\.1:1\/v1 must answer, got .*; see whether it runs$/);
    }
    await using _ = worker(server.url);
    expect((await answer).text).toBe("It is.");
    expect(other.asked).toEqual([]);
  }, 60_000);
});
