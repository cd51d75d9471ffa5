/** Prompts that are rewritten before a generation: by text or from a picture, kept, and left as they are where nothing good comes. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { clearEnhanced, countEnhanced } from "../../src/curation/enhance/kept.ts";
import { enhance } from "../../src/index.ts";
import { openSource } from "../../src/hub/open-node.ts";
import { chatServer, saidIn } from "../support/chat-server.ts";

const MODELS = { data: [{ id: "writer" }] };
const PROMPT = "a dog on a boat";
const WRITTEN = "A small white dog stands at the bow of a wooden boat and looks out over the calm sea, its ears moving in the wind.";
const NAMES = ["XDG_CACHE_HOME", "COGWHEEL_PROMPT_CACHE"];
const before = NAMES.map((name) => [name, process.env[name]] as const);
let caches: string;
beforeAll(() => {
  caches = mkdtempSync(join(tmpdir(), "cogwheel-enhance-"));
  process.env["XDG_CACHE_HOME"] = caches;
  delete process.env["COGWHEEL_PROMPT_CACHE"];
});
afterAll(() => {
  for (const [name, value] of before) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
  rmSync(caches, { recursive: true, force: true });
});

it("a text, which is asked for with examples, and kept by prompt, model and rules", async () => {
  await using server = await chatServer({ models: MODELS, model: "writer-7b", answer: () => WRITTEN });
  const first = await enhance(PROMPT, { url: server.url, seed: 3 });
  expect(first).toMatchObject({ prompt: WRITTEN, from: PROMPT, enhanced: true, cached: false, model: "writer-7b", seed: 3 });
  const { messages, seed, temperature } = server.asked[0]!.body;
  expect(messages.map(({ role }: { role: string }) => role).join(" ")).toBe("system user assistant user assistant user assistant user");
  expect([seed, temperature]).toEqual([3, 0.01]);
  expect(saidIn(server.asked[0]!)).toContain(`"${PROMPT}"`);
  expect(await enhance(PROMPT, { url: server.url, seed: 3 })).toEqual({ ...first, cached: true });
  expect(server.asked).toHaveLength(1);
  for (const other of [{ seed: 4 }, { rules: { prompt: { maxWords: 50 } } }, { maxTokens: 100 }, { model: "writer" }, { cache: false }])
    await enhance(PROMPT, { url: server.url, seed: 3, ...other });
  expect(server.asked.length, "another model name, seed or rule is another question").toBe(5);
  expect((await countEnhanced())?.count).toBe(4);
  expect(await clearEnhanced()).toBe(4);
});

it("from a picture: the frame is sent, and the rules are those of image to video", async () => {
  await using server = await chatServer({ models: MODELS, answer: () => WRITTEN });
  const image = { width: 32, height: 16, data: new Uint8Array(32 * 16 * 3).fill(50) };
  expect((await enhance("", { url: server.url, image })).prompt).toBe(WRITTEN);
  const { messages } = server.asked[0]!.body;
  expect(messages[0].content).toContain("from its first frame");
  expect(messages[1].content[0].image_url.url).toMatch(/^data:image\/jpeg;base64,/);
  await expect(enhance("", { url: server.url })).rejects.toThrow("[enhance] a prompt must say what to show");
});

it("tokens are counted as the model reads them: a text that is too long for it is not taken", async () => {
  await using source = await openSource("models/moving-shapes");
  await using server = await chatServer({ models: MODELS, answer: () => WRITTEN });
  const told: string[] = [];
  const { prompt, enhanced, reason } = await enhance(PROMPT, {
    url: server.url,
    checkpoint: source,
    maxTokens: 24,
    onWarning: (message) => told.push(message),
  });
  expect([prompt, enhanced]).toEqual([PROMPT, false]);
  expect(reason).toMatch(/no answer kept the rules \(at most 15 words, not 25; shorter: at most 24 tokens, not \d+\)/);
  expect(told).toEqual([`[enhance] the prompt is used as it was written: ${reason}`]);
  expect(server.asked).toHaveLength(4);
  expect(server.asked[0]!.body.messages[0].content).toContain("at most 15 words");
});

it.each<[string, Parameters<typeof chatServer>[0]["answer"], RegExp]>([
  ["an error", () => ({ status: 401, body: { error: "no" } }), /401 no/],
  ["nonsense", () => ({ whole: { hello: 1 } }), /without a message/],
])("%s leaves the prompt as it is", async (_, answer, why) => {
  await using server = await chatServer({ models: MODELS, answer });
  const made = await enhance(PROMPT, { url: server.url, tries: 1 });
  expect(made).toMatchObject({ prompt: PROMPT, enhanced: false, reason: expect.stringMatching(why) });
});

it("a server that is not there leaves the prompt as it is; who stops it is heard", async () => {
  const gone = await enhance(PROMPT, { url: "http://127.0.0.1:1/v1", model: "m", tries: 1 });
  expect(gone).toMatchObject({ prompt: PROMPT, enhanced: false, reason: expect.stringContaining("must answer") });
  await using server = await chatServer({ models: MODELS, answer: () => "stall" });
  const stop = new AbortController();
  setTimeout(() => stop.abort(new Error("enough")), 100);
  await expect(enhance(PROMPT, { url: server.url, signal: stop.signal })).rejects.toThrow("enough");
});
