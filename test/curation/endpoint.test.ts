/** Endpoints, asked over HTTP from a server that answers, fails, stalls and talks nonsense. */
import { describe, expect, it } from "vitest";
import { batchShards, readBatchAnswers } from "../../src/curation/endpoint/batch.ts";
import { Endpoint } from "../../src/curation/endpoint/endpoint.ts";
import { EndpointError } from "../../src/curation/endpoint/faults.ts";
import type { EndpointOptions } from "../../src/curation/endpoint/options.ts";
import { pictureOf } from "../../src/curation/endpoint/picture.ts";
import { jsonIn, mismatch, objectOf } from "../../src/curation/endpoint/schema.ts";
import { Account } from "../../src/curation/endpoint/spent.ts";
import { decodeVideo } from "../../src/video/decode.ts";
import { chatServer, completion, saidIn, type ChatServer } from "../support/chat-server.ts";

const MODELS = { object: "list", data: [{ id: "tiny", object: "model" }] };
const SCHEMA = { name: "label", schema: objectOf({ label: { type: "string", enum: ["still", "moving"] } }) };
const open = (server: ChatServer, more: Partial<EndpointOptions> = {}): Endpoint => new Endpoint({ url: server.url, ...more });
const ask = (endpoint: Endpoint, text: string, signal?: AbortSignal) => endpoint.chat({ parts: [{ text }] }, signal);

describe("a request", () => {
  it("goes with system, pictures, key and the user's own body, and comes back with its usage and cost", async () => {
    await using server = await chatServer({ models: MODELS, answer: (asked) => `heard: ${saidIn(asked)}` });
    const account = new Account();
    const endpoint = open(server, { key: "k-123", account, inputPerMillion: 2, outputPerMillion: 10, body: { top_p: 0.5 } });
    const jpeg = await pictureOf({ width: 40, height: 20, data: new Uint8Array(40 * 20 * 3).fill(120) }, { longest: 20 });
    const answer = await endpoint.chat({
      system: "be brief",
      parts: [{ text: "t = 0 s" }, { jpeg }],
      maxTokens: 9,
      temperature: 0.1,
      seed: 4,
    });
    expect(answer).toMatchObject({ text: "heard: t = 0 s", model: "tiny", finish: "stop", usage: { input: 100, output: 20 } });
    expect(answer.cost).toBeCloseTo((100 * 2 + 20 * 10) / 1e6, 12);
    expect(account.spent).toEqual({ requests: 1, inputTokens: 100, outputTokens: 20, cost: answer.cost });
    const { headers, body } = server.asked[0]!;
    expect(headers.authorization).toBe("Bearer k-123");
    expect(body).toMatchObject({ model: "tiny", max_tokens: 9, temperature: 0.1, seed: 4, top_p: 0.5 });
    expect(body.messages[0]).toEqual({ role: "system", content: "be brief" });
    const [, picture] = body.messages[1].content;
    const [head, data] = picture.image_url.url.split(",");
    expect(head).toBe("data:image/jpeg;base64");
    const { frames } = await decodeVideo(new Uint8Array(Buffer.from(data, "base64")));
    expect([frames[0]!.width, frames[0]!.height]).toEqual([20, 10]);
    expect(frames[0]!.data[0]).toBeGreaterThan(115);
    expect(frames[0]!.data[0]).toBeLessThan(125);
  });

  it("shows no secret of an address, and sends them as headers", async () => {
    await using server = await chatServer({ models: MODELS, answer: () => ({ status: 400, body: { error: { message: "no" } } }) });
    const url = server.url.replace("//", "//ann:pass%20word@") + "?api-key=secret&version=2";
    const endpoint = new Endpoint({ url, model: "tiny" });
    const error = await ask(endpoint, "x").catch((failed: Error) => failed);
    expect((error as Error).message).toContain("400 no");
    expect((error as Error).message + endpoint.label).not.toMatch(/pass|secret|ann/);
    expect(endpoint.label).toBe(`${server.url}?api-key=…&version=… tiny`);
    expect(server.asked[0]!.headers.authorization).toBe(`Basic ${Buffer.from("ann:pass word").toString("base64")}`);
    expect(server.asked[0]!.path).toBe("/v1/chat/completions?api-key=secret&version=2");
    expect(() => new Endpoint({ url: "ann:pass@host" })).toThrow(/must be at http/);
    expect(() => new Endpoint({ url: "//ann:pass@host" })).toThrow('got "//…@host"');
  });

  it("uses so many connections and no more", async () => {
    await using server = await chatServer({
      models: MODELS,
      answer: async (asked) => {
        await new Promise((done) => setTimeout(done, 20));
        return saidIn(asked);
      },
    });
    const endpoint = open(server, { concurrency: 3 });
    const answers = await Promise.all(Array.from({ length: 12 }, (_, i) => ask(endpoint, String(i))));
    expect(answers.map(({ text }) => text)).toEqual(Array.from({ length: 12 }, (_, i) => String(i)));
    expect(server.most).toBe(3);
  });

  it("leaves out what models that think aloud say first", async () => {
    await using server = await chatServer({ models: MODELS, answer: () => "<think>a dog? no, a cat</think>\n\nA cat." });
    expect((await ask(open(server), "x")).text).toBe("A cat.");
  });
});

describe("what fails in passing is tried again", () => {
  it("429 with Retry-After holds all requests back for that long", async () => {
    let rest = true;
    await using server = await chatServer({
      models: MODELS,
      answer: () => {
        if (!rest) return "fine";
        rest = false;
        return { status: 429, headers: { "retry-after": "1" } };
      },
    });
    const endpoint = open(server, { concurrency: 1 });
    await Promise.all([ask(endpoint, "a"), ask(endpoint, "b")]);
    const [first, second, third] = server.asked.map(({ at }) => at);
    expect(second! - first!).toBeGreaterThan(980);
    expect(third! - second!).toBeLessThan(900);
  });

  it.for<[string, (index: number) => ReturnType<Parameters<typeof chatServer>[0]["answer"]>]>([
    ["500", (i) => (i < 1 ? { status: 500 } : "fine")],
    ["a connection that breaks", (i) => (i < 1 ? "hang up" : "fine")],
    ["an answer that is no JSON", (i) => (i < 1 ? { raw: "<html>502 Bad Gateway</html>" } : "fine")],
    ["silence", (i) => (i < 1 ? "stall" : "fine")],
  ])("%s", async ([, answer]) => {
    await using server = await chatServer({ models: MODELS, answer: ({ index }) => answer(index) });
    expect((await ask(open(server, { timeoutSeconds: 0.3 }), "x")).text).toBe("fine");
    expect(server.asked).toHaveLength(2);
  });

  it("no more often than allowed, and the error says what came and whose it is", async () => {
    await using server = await chatServer({ models: MODELS, answer: () => ({ status: 503, body: { detail: "loading the model" } }) });
    const error = await ask(open(server, { tries: 2 }), "x").catch((failed: unknown) => failed);
    expect(error).toBeInstanceOf(EndpointError);
    expect((error as EndpointError).scope).toBe("request");
    expect((error as EndpointError).message).toMatch(/must answer, got 503 loading the model, 2 times; see whether the server runs/);
  });

  it("a server that is gone is told after a few, and so is one that asks for too long a rest", async () => {
    await using server = await chatServer({ models: MODELS, answer: () => ({ status: 429, headers: { "retry-after": "5000" } }) });
    const endpoint = open(server, { concurrency: 1 });
    await expect(ask(endpoint, "x")).rejects.toThrow(/may ask for 600 s of rest, got 5000 s/);
    await expect(ask(endpoint, "x")).rejects.toMatchObject({ scope: "request" });
    await expect(ask(endpoint, "x")).rejects.toMatchObject({ scope: "endpoint", message: expect.stringContaining("3 failures in a row") });
  });

  it("stops at once when it is told to, while it waits and while it is answered", async () => {
    await using server = await chatServer({
      models: MODELS,
      answer: ({ index }) => (index ? "stall" : { status: 429, headers: { "retry-after": "60" } }),
    });
    for (const endpoint of [open(server), open(server)]) {
      const stop = new AbortController();
      const asked = ask(endpoint, "x", stop.signal);
      setTimeout(() => stop.abort(new Error("enough")), 150);
      const before = performance.now();
      await expect(asked).rejects.toThrow("enough");
      expect(performance.now() - before).toBeLessThan(2000);
    }
  });
});

describe("what ends a run", () => {
  it.for([401, 404])("%d", async (status) => {
    await using server = await chatServer({ models: MODELS, answer: () => ({ status, body: { error: { message: "who are you" } } }) });
    await expect(ask(open(server), "x")).rejects.toMatchObject({
      scope: "endpoint",
      message: expect.stringContaining(`${status} who are you`),
    });
    expect(server.asked).toHaveLength(1);
  });

  it("an answer of another model is refused, one that changes for good ends the run, as does another than an earlier run's", async () => {
    const others = (index: number): boolean => index === 2 || index > 3;
    await using server = await chatServer({
      models: MODELS,
      model: ({ index }) => (others(index) ? "tiny-2" : "tiny-1"),
      answer: () => "a",
    });
    const endpoint = open(server, { concurrency: 2 });
    await ask(endpoint, "x");
    await ask(endpoint, "x");
    expect(endpoint.servedModel).toBe("tiny-1");
    const message = expect.stringContaining("got tiny-2 after tiny-1") as string;
    await expect(ask(endpoint, "x")).rejects.toMatchObject({ scope: "request", message });
    await ask(endpoint, "x");
    for (let i = 0; i < 5; i++) await expect(ask(endpoint, "x")).rejects.toMatchObject({ scope: "request", message });
    await expect(ask(endpoint, "x")).rejects.toMatchObject({ scope: "endpoint", message });
    const again = open(server);
    again.expectModel("tiny-0");
    await expect(ask(again, "x")).rejects.toMatchObject({
      scope: "endpoint",
      message: expect.stringContaining("got tiny-2 after tiny-0"),
    });
  });

  it("other weights under the same name", async () => {
    const data = [{ id: "tiny", meta: { n_params: 1 } }];
    await using server = await chatServer({
      models: { data },
      answer: ({ index }) => {
        if (index === 60) data[0]!.meta.n_params = 2;
        return "a";
      },
    });
    const endpoint = open(server);
    const all = Array.from({ length: 100 }, (_, i) => ask(endpoint, String(i)));
    await expect(Promise.all(all)).rejects.toThrow("got other weights under the name tiny");
  });

  it("a limit on requests, and one on cost, which is kept though several are under way", async () => {
    await using server = await chatServer({ models: MODELS, answer: () => "a" });
    const some = open(server, { account: new Account({ maxRequests: 2 }) });
    await ask(some, "x");
    await ask(some, "x");
    await expect(ask(some, "x")).rejects.toMatchObject({ scope: "endpoint", message: expect.stringContaining("maxRequests, got 2 sent") });
    // 120 tokens at 1 for a thousand: each costs 0.12.
    const account = new Account({ maxCost: 0.5 });
    const paid = open(server, { account, concurrency: 8, inputPerMillion: 1000, outputPerMillion: 1000 });
    const settled = await Promise.allSettled(Array.from({ length: 20 }, () => ask(paid, "x")));
    expect(settled.filter(({ status }) => status === "fulfilled")).toHaveLength(4);
    expect(account.spent).toMatchObject({ requests: 4 });
    expect(account.spent.cost).toBeCloseTo(0.48, 9);
  });
});

describe("what a server can do is found out", () => {
  it("the only model is taken; several must be chosen from; one that sees nothing is sent no picture", async () => {
    await using several = await chatServer({ models: { data: [{ id: "a" }, { id: "b" }] }, answer: () => "x" });
    await expect(ask(open(several), "x")).rejects.toThrow(/got 2 \(a, b\); name one/);
    expect((await ask(open(several, { model: "b" }), "x")).text).toBe("x");
    const told: string[] = [];
    await ask(open(several, { model: "c", onWarning: (message) => told.push(message) }), "x");
    expect(told.join()).toContain("not among those that it lists: a, b");
    await using blind = await chatServer({ models: MODELS, props: { modalities: { vision: false } }, answer: () => "x" });
    const endpoint = open(blind);
    expect(await endpoint.look()).toEqual({ model: "tiny", vision: false, models: ["tiny"] });
    await expect(endpoint.chat({ parts: [{ jpeg: new Uint8Array(3) }] })).rejects.toThrow(/must take pictures, got tiny that does not/);
    expect(blind.asked).toHaveLength(0);
    await using seeing = await chatServer({
      models: { data: [{ id: "q", architecture: { input_modalities: ["text", "image"] } }] },
      answer: () => "x",
    });
    expect((await open(seeing).look()).vision).toBe(true);
  });

  it.for<[string, (body: any) => boolean, number]>([
    ["takes a nested schema", (body) => body.response_format?.json_schema?.schema !== undefined, 1],
    ["takes a flat one (older llama.cpp)", (body) => body.response_format?.schema !== undefined, 2],
    ["takes JSON objects alone", (body) => body.response_format?.type === "json_object", 3],
    ["takes nothing of the kind", (body) => body.response_format === undefined, 4],
  ])("one that %s", async ([, takes, requests]) => {
    await using server = await chatServer({
      models: MODELS,
      answer: ({ body }) =>
        takes(body) ? 'Sure!\n```json\n{"label": "still"}\n```' : { status: 400, body: { error: { message: "unknown field" } } },
    });
    const told: string[] = [];
    const endpoint = open(server, { onWarning: (message) => told.push(message) });
    expect((await endpoint.chat({ parts: [{ text: "x" }], schema: SCHEMA })).value).toEqual({ label: "still" });
    expect(server.asked).toHaveLength(requests);
    expect(told).toHaveLength(requests - 1);
    if (requests > 2) expect(server.asked.at(-1)!.body.messages[0].content).toContain('"still"');
    await endpoint.chat({ parts: [{ text: "x" }], schema: SCHEMA });
    expect(server.asked, "what was found out is kept").toHaveLength(requests + 1);
  });

  it("one that ignores what it does not know is told the schema in words, once", async () => {
    await using server = await chatServer({
      models: MODELS,
      answer: ({ body, index }) => {
        if (body.messages[0].role === "system") return '{"label": "still"}';
        // One that rambles until it is cut off has begun no object either.
        const finish_reason = index === 0 ? "length" : "stop";
        return { whole: { model: "tiny", choices: [{ message: { content: "A still picture of a bowl" }, finish_reason }] } };
      },
    });
    const told: string[] = [];
    const endpoint = open(server, { onWarning: (message) => told.push(message) });
    const both = await Promise.all([0, 1].map(() => endpoint.chat({ parts: [{ text: "x" }], schema: SCHEMA })));
    expect(both.map(({ value }) => value)).toEqual([{ label: "still" }, { label: "still" }]);
    expect(server.asked).toHaveLength(4);
    expect(server.asked.at(-1)!.body.response_format).toBeUndefined();
    expect(told).toEqual([expect.stringContaining("ignores json_schema")]);
    await endpoint.chat({ parts: [{ text: "x" }], schema: SCHEMA });
    expect(server.asked, "what was found out is kept").toHaveLength(5);
  });

  it("an answer that was cut off says nothing of what a server knows", async () => {
    const cut = { model: "tiny", choices: [{ message: { content: '{"label": "st' }, finish_reason: "length" }] };
    await using server = await chatServer({ models: MODELS, answer: () => ({ whole: cut }) });
    const endpoint = open(server);
    for (let i = 0; i < 2; i++)
      await expect(endpoint.chat({ parts: [{ text: "x" }], schema: SCHEMA })).rejects.toThrow("must hold a JSON object");
    expect(server.asked).toHaveLength(2);
    expect(server.asked[1]!.body.response_format.type).toBe("json_schema");
  });

  it("one that wants max_completion_tokens and no temperature", async () => {
    await using server = await chatServer({
      models: MODELS,
      answer: ({ body }) =>
        "max_tokens" in body
          ? { status: 400, body: { error: { message: "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead." } } }
          : "temperature" in body
            ? { status: 400, body: { error: { message: "Unsupported value: 'temperature' does not support 0.1." } } }
            : `${body.max_completion_tokens}`,
    });
    const { text } = await open(server).chat({ parts: [{ text: "x" }], maxTokens: 7, temperature: 0.1 });
    expect(text).toBe("7");
  });

  it.for<[string, unknown, RegExp]>([
    ["no message", { choices: [] }, /an answer without a message/],
    ["a refusal", { choices: [{ message: { content: null, refusal: "I cannot" } }] }, /a refusal: I cannot/],
    ["a list", [], /no JSON object/],
  ])("nonsense is refused: %s", async ([, whole, error]) => {
    await using server = await chatServer({ models: MODELS, answer: () => ({ whole }) });
    await expect(ask(open(server), "x")).rejects.toThrow(error);
  });

  it("an answer that is not of the schema is refused", async () => {
    await using server = await chatServer({ models: MODELS, answer: () => '{"label": "asleep"}' });
    await expect(open(server).chat({ parts: [{ text: "x" }], schema: SCHEMA })).rejects.toThrow(/label must be one of still, moving/);
  });
});

it("JSON is found between words, and checked", () => {
  expect(jsonIn('so {this} is it: {"a": "}{", "b": [1]} and more')).toEqual({ a: "}{", b: [1] });
  expect(jsonIn("{".repeat(1e5))).toBeUndefined();
  const schema = objectOf({ score: { type: "integer", minimum: 1, maximum: 10 }, tags: { type: "array", items: { type: "string" } } });
  expect(mismatch({ score: 3, tags: ["a"] }, schema)).toBeUndefined();
  expect(mismatch({ score: 11, tags: [] }, schema)).toBe("score must be from 1 to 10");
  expect(mismatch({ score: 3.5, tags: [] }, schema)).toBe("score must be a whole number");
  expect(mismatch({ score: 3, tags: [1] }, schema)).toBe("tags[0] must be a text");
  expect(mismatch({ score: 3 }, schema)).toBe("the answer must have tags");
  expect(mismatch({ score: 3, tags: [], x: 1 }, schema)).toBe("the answer must not have x");
});

describe("batch files", () => {
  const requests = (count: number, bytes: number) =>
    Array.from({ length: count }, (_, i) => ({
      id: `clip-${i}`,
      body: { model: "m", messages: [{ role: "user", content: "x".repeat(bytes) }] },
    }));

  it("are cut by bytes and by requests, and hold every request once", async () => {
    const shards = [];
    for await (const shard of batchShards(requests(10, 1000), { requests: 4, bytes: 3500 })) shards.push(shard);
    expect(shards.map(({ ids }) => ids.length)).toEqual([3, 3, 3, 1]);
    for (const { bytes, lines } of shards) {
      expect(bytes).toBe(lines.reduce((sum, line) => sum + line.length, 0));
      expect(bytes).toBeLessThanOrEqual(3500);
    }
    const [line] = shards[1]!.lines.map((one) => JSON.parse(new TextDecoder().decode(one)));
    expect(line).toMatchObject({ custom_id: "clip-3", method: "POST", url: "/v1/chat/completions", body: { model: "m" } });
    const few = [];
    for await (const shard of batchShards(requests(10, 10), { requests: 4, bytes: 1e6 })) few.push(shard.ids.length);
    expect(few).toEqual([4, 4, 2]);
  });

  it("refuse a request that fits none, and an id twice", async () => {
    const all = async (list: ReturnType<typeof requests>) => {
      for await (const _ of batchShards(list, { requests: 9, bytes: 500 }));
    };
    await expect(all(requests(1, 1000))).rejects.toThrow(/must fit a batch file of 500 bytes, got \d+ of clip-0/);
    await expect(all([...requests(1, 1), ...requests(1, 1)])).rejects.toThrow("got clip-0 twice");
  });

  it("are read back in any order, with failures and broken lines told", () => {
    const line = (id: string, response: unknown, error: unknown = null) =>
      JSON.stringify({ id: "batch_1", custom_id: id, response, error });
    const { answers, broken } = readBatchAnswers(
      [
        line("b", { status_code: 200, body: completion("B") }),
        line("a", { status_code: 200, body: completion("A") }),
        line("c", { status_code: 400, body: {} }),
        line("d", null, { code: "batch_expired", message: "too late" }),
        '{"custom_id": "e", "resp',
        "",
      ].join("\n"),
    );
    expect(answers.map((one) => [one.id, "reply" in one ? one.reply.text : one.error])).toEqual([
      ["b", "B"],
      ["a", "A"],
      ["c", "status 400"],
      ["d", "too late"],
    ]);
    expect(broken).toEqual([5]);
  });
});
