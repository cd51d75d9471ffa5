/** `cogwheel data caption` and `data export` as a user has them: drawn films, captioned by a local server, for another trainer. */
import { readFileSync, readdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { RULES } from "../../src/curation/rules/rules.ts";
import { type Asked, chatServer, completion } from "../support/chat-server.ts";
import { useDataCommand, SHAPE } from "../support/data-command.ts";

const { folder, run: data, rows } = useDataCommand({ one: [1, 2], two: [3] });
beforeAll(() => writeFile(join(folder, "raw/two.txt"), "blotches by hand\n"));
const stepOf = ({ body }: Pick<Asked, "body">): string =>
  Object.entries(RULES.instructions).find(([, text]) => body.messages[0].content === text)![0];
const answerTo = (asked: Pick<Asked, "body">): string =>
  stepOf(asked) === "merge"
    ? `Blotches of colour drift over each other, ${JSON.stringify(asked.body.messages).length % 97} of them.`
    : "Blotches drift.";

it("captions the clips that stay, with the key out of the environment, once and no more than once", { timeout: 120_000 }, async () => {
  await using server = await chatServer({ models: { data: [{ id: "eyes" }] }, answer: answerTo });
  const secret = { COGWHEEL_API_KEY: "k-secret-1" };
  const estimate = await data(["caption", ...SHAPE, "--url", server.url.replace("//", "//me:hidden@"), "--dry-run", "--json"], secret);
  expect(estimate.code, estimate.err).toBe(0);
  expect(JSON.parse(estimate.out).caption.estimate).toMatchObject({ clips: 2, measured: 2, answered: 2, requests: 0 });
  const asked = server.asked.length;
  expect(asked).toBe(8);
  const made = await data(["run", ...SHAPE, "--url", server.url, "--json"], secret);
  expect(made.code, made.err).toBe(0);
  expect(server.asked.length, "what the estimate asked is not asked again").toBe(asked);
  expect(JSON.parse(made.out).caption).toMatchObject({ captioned: 2, byHand: 1, marked: [], failed: [], spent: { requests: 0 } });
  expect(server.asked.every(({ headers }) => headers.authorization === "Bearer k-secret-1")).toBe(true);
  const all = rows();
  expect(all.filter(({ caption }) => /^Blotches of colour drift/.test(caption))).toHaveLength(2);
  expect(all.find(({ caption_source }) => caption_source === "hand")).toMatchObject({ caption: "blotches by hand", short_caption: null });
  expect(all.find(({ caption_source }) => caption_source === "tiny")).toMatchObject({
    short_caption: "Blotches drift.",
    caption_violations: null,
  });
  const report = readFileSync(join(folder, "set/report.html"), "utf8");
  expect(report).toContain("<th>models</th><td>8 requests, 800 tokens in, 160 out</td>");
  expect(report.match(/frames? as (?:it was|they were) described/g)).toHaveLength(2);
  const { file_name } = all.find(({ caption_source }) => caption_source === "tiny");
  const why = await data(["why", "set", file_name]);
  expect(why.out).toMatch(/\ncaption\.short “Blotches drift\.”, by tiny/);
  expect(why.out.match(/\ncaption\.frame “Blotches drift\.”, by tiny/g)!.length, "each frame's").toBeGreaterThan(1);
  expect(why.out).not.toContain('"request"');
  const written =
    readFileSync(join(folder, "set/.curation/ledger.jsonl"), "utf8") + readFileSync(join(folder, "set/metadata.jsonl"), "utf8");
  expect(written + made.out + made.err + estimate.out + estimate.err).not.toMatch(/k-secret|hidden/);
});

it("a model without a server wants transformers.js, which does not come with this package", { timeout: 60_000 }, async () => {
  const here = "transformers:some/model";
  const refused = async (...more: string[]): Promise<string> => {
    const { code, err } = await data(["caption", "raw", "--out", "here", "--frames", "17", "--url", ...more]);
    expect(code, err).toBe(more.includes("--batch") ? 2 : 1);
    return err;
  };
  // Nobody who only asks servers should get its 300 MB; npm run captions:prove has it, and models.
  expect(await refused(here)).toMatch(/some\/model: .* got none .*; npm install @huggingface\/transformers, or/);
  expect(await refused("transformers:")).toContain("must be followed by a model, got nothing");
  expect(await refused(here, "--model", "eyes")).toContain("names its model, got eyes beside it; leave model out");
  expect(await refused(here, "--batch", "batch")).toContain("a batch must be for a server");
  const set = readFileSync(join(folder, "set/metadata.jsonl"), "utf8");
  expect((await data(["caption", "raw", "--out", "set", "--frames", "17", "--url", here])).code).toBe(1);
  expect(readFileSync(join(folder, "set/metadata.jsonl"), "utf8"), "what was there stays").toBe(set);
});

it("writes them for other trainers, split by source", { timeout: 60_000 }, async () => {
  const made = await data(["export", "set", "--to", "diffusers", "--out", "for-diffusers", "--validation", "0.3", "--json"]);
  expect(made.code, made.err).toBe(0);
  expect(Object.keys(JSON.parse(made.out).clips).sort()).toEqual(["train", "validation"]);
  const refused = await data(["export", "set", "--to", "sat", "--out", "my videos"]);
  expect(refused.code).toBe(2);
  expect(refused.err).toContain("must not have “videos” in its path");
  expect(readdirSync(folder)).not.toContain("my videos");
});

it("writes the teacher's merges as a set to tune a student by", { timeout: 60_000 }, async () => {
  const made = await data(["distill", "export", "set", "--out", "pairs", "--validation", "0", "--json"]);
  expect(made.code, made.err).toBe(0);
  expect(JSON.parse(made.out)).toMatchObject({
    train: 2,
    validation: 0,
    warnings: ["2 pairs to learn from: OpenAI wants 10, and a model thousands"],
  });
  const [line] = readFileSync(join(folder, "pairs/train.jsonl"), "utf8").split("\n");
  const { messages } = JSON.parse(line!);
  expect(messages[0].content).toBe(RULES.instructions.merge);
  expect(messages[1].content).toContain("Short caption: Blotches drift.");
  expect(messages[2].content).toMatch(/^Blotches of colour drift/);
  const both = await data(["distill", "train", "pairs", "--base", "x"]);
  expect([both.code, both.err]).toEqual([2, expect.stringContaining("got neither; name one")]);
});

it("counts tokens by the tokenizer of the model that will be trained, of captions from before too", { timeout: 60_000 }, async () => {
  const words = (clip: number): string => Array.from({ length: 60 }, (_, i) => (i % 2 ? "of" : `incomprehensibilities${clip}`)).join(" ");
  await using server = await chatServer({
    models: { data: [{ id: "eyes" }] },
    answer: (asked) => (stepOf(asked) === "merge" ? `The ${words(asked.index)} in the evening.` : answerTo(asked)),
  });
  const config = { videos: "raw", out: "set", cut: { frames: 17 }, caption: { url: server.url, seed: 7, hand: "replace" } };
  await writeFile(join(folder, "counted.json"), JSON.stringify(config));
  const before = await data(["caption", "counted.json", "--json"]);
  expect(JSON.parse(before.out).caption).toMatchObject({ captioned: 3, marked: [] });
  expect(before.err).toContain("tokens are not counted: name the checkpoint");
  const asked = server.asked.length;
  const made = await data(["caption", "counted.json", "--json", "--tokenizer", resolve("models/moving-shapes")]);
  expect(made.err).not.toContain("tokens are not counted");
  const { captioned, marked } = JSON.parse(made.out).caption;
  expect([captioned, marked.length]).toEqual([3, 3]);
  expect(JSON.stringify(marked)).toMatch(/tokens: shorter: at most 226 tokens, not \d+/);
  expect(server.asked.slice(asked).map(stepOf), "only what is too long is asked for again").toEqual(Array(12).fill("merge"));
});

it("holds a student against its teacher, whose key goes to no other server", { timeout: 60_000 }, async () => {
  const judged = (asked: Asked): string => (/Caption A/.test(JSON.stringify(asked.body)) ? '{"better":"same"}' : answerTo(asked));
  await using teacher = await chatServer({ models: { data: [{ id: "teacher" }] }, answer: judged });
  await using student = await chatServer({ models: { data: [{ id: "student" }] }, answer: answerTo });
  const compared = (url: string, ...more: string[]) =>
    data(["distill", "compare", "set", "--validation", "0.5", "--url", url, "--teacher-url", teacher.url, "--json", ...more], {
      COGWHEEL_API_KEY: "k-teacher",
      STUDENT_KEY: "k-student",
    });
  const keys = ({ asked }: typeof teacher): string[] => [...new Set(asked.map(({ headers }) => headers.authorization ?? "none"))];
  const made = await compared(student.url);
  expect(JSON.parse(made.out)).toMatchObject({ failed: [] });
  expect([keys(student), keys(teacher)]).toEqual([["none"], ["Bearer k-teacher"]]);
  await compared(student.url, "--key-env", "STUDENT_KEY");
  expect(keys(student)).toEqual(["none", "Bearer k-student"]);
  await compared(teacher.url);
  expect(keys(teacher), "a student at the teacher's address").toEqual(["Bearer k-teacher"]);
});

it("by batch files, round by round; what cannot be captioned is told by the exit code", { timeout: 120_000 }, async () => {
  const args = [
    "caption",
    "raw",
    "--out",
    "batched",
    "--frames",
    "17",
    "--url",
    "http://unused.invalid/v1",
    "--model",
    "eyes",
    "--batch",
    "batch",
  ];
  for (const [round, files] of [["vision-000.jsonl"], ["summariser-000.jsonl"], []].entries()) {
    const { code, out, err } = await data([...args, "--json"]);
    expect(code, err).toBe(0);
    expect(JSON.parse(out).caption.batch.files).toEqual(files.map((name) => join("batch", name)));
    for (const name of files) {
      const lines = readFileSync(join(folder, "batch", name), "utf8")
        .trim()
        .split("\n");
      const answers = lines.map((line) => {
        const { custom_id, body } = JSON.parse(line);
        return JSON.stringify({ custom_id, response: { status_code: 200, body: completion(answerTo({ body }), "eyes-7b") }, error: null });
      });
      await writeFile(join(folder, "batch/answers", `${round}.jsonl`), answers.join("\n"));
    }
  }
  await using server = await chatServer({ models: { data: [{ id: "eyes" }] }, answer: () => ({ whole: {} }) });
  const failed = await data(["caption", ...SHAPE, "--url", server.url, "--model", "broken"]);
  expect(failed.code, failed.err).toBe(3);
  expect(failed.out).toMatch(/no caption: [0-9a-f]{16}\n {2}\[endpoint\].*without a message/);
});
