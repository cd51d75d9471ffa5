/** Captions of drawn clips by a local server: the paper's steps and the one request, the ledger between runs, and what goes wrong. */
import { beforeAll, describe, expect, it } from "vitest";
import { batchModel } from "../../src/curation/caption/batch.ts";
import { type CaptionClip, captionClip, type CaptionWork } from "../../src/curation/caption/caption.ts";
import { CAPTION_DEFAULTS, type CaptionOptions } from "../../src/curation/caption/options.ts";
import type { CaptionValue } from "../../src/curation/caption/record.ts";
import { captionAll, captionModel, estimateCaptions } from "../../src/curation/caption/run.ts";
import { type BatchAnswer, readBatchAnswers } from "../../src/curation/endpoint/batch.ts";
import type { EndpointOptions } from "../../src/curation/endpoint/options.ts";
import { Account } from "../../src/curation/endpoint/spent.ts";
import { Ledger, memoryLedgerStore } from "../../src/curation/ledger/ledger.ts";
import { RULES, rulesWith } from "../../src/curation/rules/rules.ts";
import { decodeVideo } from "../../src/video/decode.ts";
import { brightening } from "../support/brightening.ts";
import { type Asked, chatServer, type ChatServer, completion, saidIn } from "../support/chat-server.ts";

let film: Uint8Array<ArrayBuffer>;
let picture: Uint8Array<ArrayBuffer>;
beforeAll(async () => {
  ({ film, picture } = await brightening());
});

let reads = 0;
const clip = (id: string, more: Partial<CaptionClip> = {}): CaptionClip => ({
  id,
  source: `source-${id}`,
  kind: "film",
  duration: 6,
  key: `clip-key-${id}`,
  name: `${id}.mp4`,
  read: () => {
    reads++;
    return Promise.resolve(film);
  },
  ...more,
});

const MODELS = { data: [{ id: "eyes" }] };
const system = ({ body }: Asked): string => body.messages.find(({ role }: { role: string }) => role === "system").content;
const pictures = ({ body }: Asked): string[] =>
  body.messages.flatMap(({ content }: { content: unknown }) =>
    Array.isArray(content) ? content.flatMap((part: any) => (part.image_url ? [part.image_url.url] : [])) : [],
  );
const stepOf = (asked: Asked): string => Object.entries(RULES.instructions).find(([, text]) => system(asked) === text)?.[0] ?? "other";
const answer = (asked: Asked): string =>
  ({
    short: "A gray field grows brighter.",
    frame: "A plain gray field without any object in it, evenly lit.",
    merge: `A gray field is seen from the front and grows slowly brighter, as ${saidIn(asked).length} light bulbs were lit.`,
    clip: "A gray field is seen from the front and grows slowly brighter.",
    picture: "A dark gray field.",
    other: "A gray field that grows brighter is seen.",
  })[stepOf(asked)]!;

async function workOn(
  server: ChatServer,
  {
    options = {},
    store = memoryLedgerStore(),
    endpoint = {},
  }: { options?: Partial<CaptionOptions>; store?: ReturnType<typeof memoryLedgerStore>; endpoint?: Partial<EndpointOptions> } = {},
): Promise<CaptionWork & { ledger: Ledger; store: ReturnType<typeof memoryLedgerStore> }> {
  const ledger = await Ledger.open(store);
  const model = await captionModel({ url: server.url, tries: 2, ...endpoint }, ledger);
  return { ledger, store, options: { ...CAPTION_DEFAULTS, rules: RULES, ...options }, vision: model, summariser: model };
}

describe("the paper's steps", () => {
  it("a short caption, a frame every two seconds, and a merge of these, each with its request and answer in the ledger", async () => {
    await using server = await chatServer({ models: MODELS, model: "eyes-7b", answer });
    const work = await workOn(server);
    const made = await captionClip(clip("a"), work);
    expect(made).toMatchObject({ short: "A gray field grows brighter.", model: "eyes-7b" });
    expect(made.caption).toMatch(/^A gray field is seen/);
    expect(made.frames!.map(({ seconds }) => seconds)).toEqual([0, 2, 4]);
    const steps = server.asked.map(stepOf);
    expect(steps.toSorted()).toEqual(["frame", "frame", "frame", "merge", "short"]);
    expect(steps.at(-1)).toBe("merge");
    // The frames that were sent are those of their seconds.
    for (const asked of server.asked.filter((one) => stepOf(one) === "frame")) {
      const [url] = pictures(asked);
      const { frames } = await decodeVideo(new Uint8Array(Buffer.from(url!.split(",")[1]!, "base64")));
      const second = (frames[0]!.data[0]! - 10) / 40;
      expect(Math.min(...[0, 2, 4].map((want) => Math.abs(second - want)))).toBeLessThan(0.15);
    }
    const short = server.asked.find((one) => stepOf(one) === "short")!;
    expect(pictures(short)).toHaveLength(4);
    expect(saidIn(short)).toMatch(/^t = 0 s\n/);
    const merge = saidIn(server.asked.at(-1)!);
    expect(merge).toContain("Short caption: A gray field grows brighter.");
    expect(merge).toContain('"2 s": "A plain gray field');
    await work.ledger.flush();
    const rows = work.store
      .text()
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(rows.map(({ stage }) => stage).toSorted()).toEqual([
      "caption.frame",
      "caption.frame",
      "caption.frame",
      "caption.merge",
      "caption.short",
    ]);
    const kept = rows.find(({ stage }) => stage === "caption.merge") as { of: string; value: CaptionValue; cost: object };
    expect(kept).toMatchObject({ of: "a", cost: { requests: 1, tokensIn: 100, tokensOut: 20 } });
    expect(kept.value.tries[0]!.request).toMatchObject({ system: RULES.instructions.merge, parts: [{ text: merge }], seed: 0 });
    expect(kept.value.tries[0]!.answer).toBe(made.caption);
    expect(JSON.stringify(rows), "pictures stand there by their digest").not.toContain("base64");
  });

  it("nothing is asked twice: a second run asks nothing, another merge the merge alone, and no file is read for it", async () => {
    await using server = await chatServer({ models: MODELS, answer });
    const first = await workOn(server);
    const made = await captionClip(clip("a"), first);
    await first.ledger.flush();
    reads = 0;
    const again = await workOn(server, { store: first.store });
    expect(await captionClip(clip("a"), again)).toEqual(made);
    expect(server.asked).toHaveLength(5);
    const rules = rulesWith({ instructions: { merge: "Write one caption." } });
    await captionClip(clip("a"), await workOn(server, { store: first.store, options: { rules } }));
    expect(server.asked).toHaveLength(6);
    expect(system(server.asked[5]!)).toBe("Write one caption.");
    expect(reads).toBe(0);
    await captionClip(clip("a", { key: "another file" }), await workOn(server, { store: first.store }));
    expect(server.asked).toHaveLength(11);
  });
});

it("all frames in one request, with their seconds; a picture in one request too", async () => {
  await using server = await chatServer({ models: MODELS, answer });
  const work = await workOn(server, { options: { path: "clip", frames: 24 } });
  expect((await captionClip(clip("a"), work)).caption).toMatch(/^A gray field is seen/);
  expect(pictures(server.asked[0]!)).toHaveLength(24);
  expect(saidIn(server.asked[0]!)).toContain("t = 0.25 s");
  const one = await captionClip(clip("p", { kind: "picture", duration: 0, read: () => Promise.resolve(picture) }), work);
  expect(one.caption).toBe("A dark gray field.");
  expect(pictures(server.asked[1]!)).toHaveLength(1);
});

describe("what goes wrong", () => {
  it("a caption that breaks the rules is asked for again three times, then kept and marked", async () => {
    await using server = await chatServer({
      models: MODELS,
      answer: (asked) => (stepOf(asked) === "merge" ? "The video shows gray." : answer(asked)),
    });
    const work = await workOn(server);
    const made = await captionClip(clip("a"), work);
    expect(made.caption).toBe("The video shows gray.");
    expect(made.violations!.join()).toMatch(/opener: .*phrase: /);
    expect(server.asked.filter((one) => stepOf(one) === "merge")).toHaveLength(4);
  });

  it("a request that fails leaves its clip without a caption, which the next run asks for; others are done", async () => {
    let broken = true;
    await using server = await chatServer({
      models: MODELS,
      answer: (asked) => (broken && stepOf(asked) === "clip" && asked.index < 4 ? { whole: { nothing: true } } : answer(asked)),
    });
    const work = await workOn(server, { options: { path: "clip", frames: 2 } });
    const done = await captionAll([clip("a"), clip("b")], { ...work, lanes: 1 });
    expect(done.get("a")!.error).toMatch(/without a message/);
    expect(done.get("b")!.caption).toMatch(/^A gray/);
    broken = false;
    const again = await captionAll([clip("a"), clip("b")], {
      ...(await workOn(server, { store: work.store, options: work.options })),
      lanes: 1,
    });
    expect(again.get("a")!.caption).toMatch(/^A gray/);
    expect(server.asked).toHaveLength(6);
  });

  it("a file that cannot be read is one clip's error", async () => {
    await using server = await chatServer({ models: MODELS, answer });
    const work = await workOn(server);
    const made = await captionClip(clip("a", { read: () => Promise.resolve(new Uint8Array(100)) }), work);
    expect(made.error).toMatch(/^\[video\] a\.mp4/);
    expect(server.asked).toHaveLength(0);
  });

  it("a spent budget ends the run, and the next goes on where it was", async () => {
    await using server = await chatServer({ models: MODELS, answer });
    const account = new Account({ maxRequests: 7 });
    const work = await workOn(server, { endpoint: { account, concurrency: 1 } });
    await expect(captionAll([clip("a"), clip("b"), clip("c")], { ...work, lanes: 1, equalCaptions: true })).rejects.toThrow(
      /maxRequests, got 7 sent/,
    );
    expect(server.asked).toHaveLength(7);
    const done = await captionAll([clip("a"), clip("b"), clip("c")], {
      ...(await workOn(server, { store: work.store })),
      lanes: 2,
      equalCaptions: true,
    });
    expect([...done.values()].every(({ caption }) => caption !== undefined)).toBe(true);
    expect(server.asked).toHaveLength(15);
  });

  it("a model that is another one than in the ledger is refused", async () => {
    await using server = await chatServer({ models: MODELS, model: ({ index }) => (index < 5 ? "eyes-1" : "eyes-2"), answer });
    const work = await workOn(server);
    await captionClip(clip("a"), work);
    await work.ledger.flush();
    const other = await workOn(server, { store: work.store });
    await expect(captionClip(clip("b"), other)).rejects.toThrow("got eyes-2 after eyes-1");
    expect(other.ledger.of("b")).toContainEqual(
      expect.objectContaining({
        error: expect.objectContaining({ message: expect.stringContaining("got eyes-2 after eyes-1"), retry: true }),
      }),
    );
  });

  it("what another model answers is a row of its clip, and the others are captioned", async () => {
    // A request a clip; that of b and its three repetitions meet another server.
    await using server = await chatServer({
      models: MODELS,
      model: ({ index }) => (index > 0 && index < 5 ? "eyes-2" : "eyes-1"),
      answer,
    });
    const options = { path: "clip", frames: 1 } as const;
    const work = await workOn(server, { options });
    const made = await captionAll([clip("a"), clip("b"), clip("c")], { ...work, lanes: 1, equalCaptions: true });
    expect([...made.values()].map(({ caption }) => caption !== undefined)).toEqual([true, false, true]);
    expect(made.get("b")!.error).toContain("got eyes-2 after eyes-1");
    const again = await captionAll([clip("a"), clip("b"), clip("c")], {
      ...(await workOn(server, { options, store: work.store })),
      lanes: 1,
      equalCaptions: true,
    });
    expect([...again.values()].every(({ caption }) => caption !== undefined)).toBe(true);
  });

  it("one caption for clips of several sources is an error with the clips, before the rest is paid for", async () => {
    await using server = await chatServer({ models: MODELS, answer });
    const many = Array.from({ length: 40 }, (_, i) => clip(`c${i}`, { duration: 1 }));
    const work = await workOn(server, { options: { path: "clip", frames: 1 } });
    await expect(captionAll(many, { ...work, lanes: 4 })).rejects.toThrow(
      /a caption must be of its own clip.*\n20 × “A gray field is seen.*”: c0, c/,
    );
    expect(server.asked.length).toBeLessThan(30);
  });
});

it("an estimate is made from twenty clips, which the run then has", async () => {
  await using server = await chatServer({ models: MODELS, answer });
  const account = new Account();
  const work = await workOn(server, { options: { path: "clip", frames: 1 }, endpoint: { account, inputPerMillion: 1000 } });
  const many = Array.from({ length: 24 }, (_, i) => clip(`c${i}`, { duration: 1 }));
  const told = await estimateCaptions(many, account, { ...work, lanes: 4, equalCaptions: true });
  expect(told).toMatchObject({ clips: 24, measured: 20, answered: 20, requests: 4, inputTokens: 400, outputTokens: 80 });
  expect(told.cost).toBeCloseTo(0.4, 9);
  expect(server.asked).toHaveLength(20);
  expect(await estimateCaptions(many, account, { ...work, lanes: 4, equalCaptions: true })).toMatchObject({ requests: 4 });
  await captionAll(many, { ...work, lanes: 4, equalCaptions: true });
  expect(server.asked).toHaveLength(24);
  const whole = await estimateCaptions(many, account, { ...work, lanes: 4, equalCaptions: true });
  expect(whole, "nothing is left").toMatchObject({ answered: 24, requests: 0, cost: 0 });
  expect(server.asked).toHaveLength(24);
});

it("by batch files: step after step, with the answers of whichever run asked", async () => {
  const store = memoryLedgerStore();
  const answers = new Map<string, BatchAnswer>();
  const rounds: number[] = [];
  let captions = new Map<string, unknown>();
  for (let round = 0; round < 4 && captions.size < 2; round++) {
    const ledger = await Ledger.open(store);
    const requests: { id: string; body: any }[] = [];
    const model = batchModel(
      { url: "http://unused/v1", model: "eyes" },
      answers,
      async (request) => void requests.push(request),
      new Account(),
    );
    const work = { ledger, options: { ...CAPTION_DEFAULTS, rules: RULES }, vision: model, summariser: model };
    captions = await captionAll([clip("a"), clip("b", { source: "source-a" })], { ...work, lanes: 2 });
    rounds.push(requests.length);
    // What a batch's file of results holds.
    const lines = requests.map(({ id, body }) =>
      JSON.stringify({
        custom_id: id,
        response: { status_code: 200, body: completion(answer({ body } as Asked), "eyes-7b") },
        error: null,
      }),
    );
    for (const one of readBatchAnswers(lines.join("\n")).answers) answers.set(one.id, one);
  }
  // Both clips have the same pictures, so that their requests are one.
  expect(rounds).toEqual([4, 1, 0]);
  expect([...captions.values()]).toHaveLength(2);
  expect(captions.get("a")).toMatchObject({ model: "eyes-7b", short: "A gray field grows brighter." });
});
