/** Distillation: the teacher's merges as a set, measures of nearness, a student before held-out clips, and a job of a fine-tuning API. */
import { describe, expect, it } from "vitest";
import { captionModel } from "../../src/curation/caption/run.ts";
import { compare } from "../../src/curation/distill/compare.ts";
import { checkDistillFiles, distillFiles } from "../../src/curation/distill/files.ts";
import { fineTune, type FineTuneOptions, type FineTuneState } from "../../src/curation/distill/fine-tune.ts";
import { type TeacherPair, teacherPairs } from "../../src/curation/distill/pairs.ts";
import { chrf, rougeL, textScores } from "../../src/curation/distill/scores.ts";
import { samplesOf } from "../../src/curation/export/rows.ts";
import { Ledger, memoryLedgerStore } from "../../src/curation/ledger/ledger.ts";
import { RULES } from "../../src/curation/rules/rules.ts";
import { type Asked, chatServer, saidIn } from "../support/chat-server.ts";

/** A ledger as captioning leaves it: 40 clips of 20 sources, with a first model's merges, one that breaks a rule, and retries. */
async function captioned() {
  const ledger = await Ledger.open(memoryLedgerStore());
  const rows = Array.from({ length: 40 }, (_, i) => {
    const [of, source] = [`clip${String(i).padStart(2, "0")}`, `film-${i % 20}`];
    const merge = (text: string, asked: string, more: object = {}): void => {
      const request = { system: RULES.instructions.merge, parts: [{ text: `Short caption: dog ${i} runs.` }], temperature: 0.1, seed: 0 };
      const value = { text, asked, model: `${asked}-1`, source, tries: [{ request, answer: text }], ...more };
      ledger.append({ stage: "caption.merge", key: `${of} ${asked}`, of, value, ms: 1 });
    };
    merge(`An old caption of dog ${i}.`, "small");
    if (i === 7) merge("The video shows a dog.", "large", { violations: ["opener: …"] });
    else merge(`Dog ${i} runs over a meadow.`, "large");
    return { file_name: `videos/${of}.mp4`, caption: `Dog ${i} runs.`, source: { sha256: source } };
  });
  return { ledger, samples: samplesOf(rows.map((row) => JSON.stringify(row)).join("\n")) };
}

describe("the set", () => {
  it("has each clip's last merge that keeps the rules, exactly as it was asked, split by source", async () => {
    const { ledger, samples } = await captioned();
    const { train, validation } = teacherPairs(ledger, samples, { validation: 0.2 });
    expect(train.length + validation.length).toBe(40);
    expect(Math.abs(validation.length - 8)).toBeLessThan(3);
    const held = new Set(validation.map(({ source }) => source));
    expect(train.some(({ source }) => held.has(source))).toBe(false);
    const all = [...train, ...validation];
    expect(all.find(({ id }) => id === "clip07")!.answer).toBe("An old caption of dog 7.");
    expect(all.find(({ id }) => id === "clip08")).toEqual({
      id: "clip08",
      source: "film-8",
      system: RULES.instructions.merge,
      user: "Short caption: dog 8 runs.",
      answer: "Dog 8 runs over a meadow.",
      model: "large-1",
    });
    const old = teacherPairs(ledger, samples, { validation: 0, teacher: "small" });
    expect(old.train.every(({ model }) => model === "small-1")).toBe(true);
    expect(() => teacherPairs(ledger, samples, { teacher: "nobody" })).toThrow(/got none in the ledger/);
  });

  it("is what OpenAI, LLaMA-Factory, TRL and axolotl read; what they would refuse is found", async () => {
    const { ledger, samples } = await captioned();
    const files = distillFiles(teacherPairs(ledger, samples, { validation: 0.2 }), "org/base");
    expect(checkDistillFiles(files)).toEqual([]);
    expect(JSON.parse(files["train.jsonl"]!.split("\n")[0]!).messages.map(({ role }: { role: string }) => role)).toEqual([
      "system",
      "user",
      "assistant",
    ]);
    expect(Object.keys(JSON.parse(files["trl-train.jsonl"]!.split("\n")[0]!))).toEqual(["prompt", "completion"]);
    expect(JSON.parse(files["dataset_info.json"]!)).toMatchObject({
      captions_train: { file_name: "train.jsonl", formatting: "sharegpt", columns: { messages: "messages" }, tags: { role_tag: "role" } },
    });
    expect(files["axolotl.yml"]).toContain('base_model: "org/base"');
    const without = files["train.jsonl"]!.split("\n");
    expect(checkDistillFiles({ ...files, "train.jsonl": without.slice(1).join("\n") })).toEqual(["TRL has another number of pairs"]);
    const mute = JSON.stringify({ messages: [{ role: "user", content: "x" }] });
    expect(checkDistillFiles({ ...files, "train.jsonl": [mute, ...without.slice(1)].join("\n") })[0]).toBe(
      "train.jsonl:1 is not system, user, assistant",
    );
    const clips = JSON.parse(files["clips.json"]!);
    clips.validation.push(clips.train[0]);
    expect(checkDistillFiles({ ...files, "clips.json": JSON.stringify(clips) })[0]).toMatch(/source film-\d+ is on both sides/);
  });
});

// sacrebleu 2.6 (CHRF, sentence_score) and rouge-score 0.1.2 (rougeL, fmeasure).
it.each([
  [
    "A brown dog runs across the meadow and jumps over a fence.",
    "A brown dog runs through a wide meadow, jumping over two low fences.",
    0.438529,
    0.48,
  ],
  ["Two cats sleep.", "A red circle moves left on a black background.", 0.061253, 0],
  ["the cat", "the cat", 1, 1],
  [
    "A girl in a yellow dress walks along the beach at sunset, her hair in the wind.",
    "At sunset a young girl walks barefoot along a wide beach; the wind lifts her dark hair.",
    0.367522,
    0.411765,
  ],
])("%s against %s", (text, reference, wantChrf, wantRouge) => {
  expect(chrf(text, reference)).toBeCloseTo(wantChrf, 5);
  expect(rougeL(text, reference)).toBeCloseTo(wantRouge, 5);
});

it("what is named and counted is found, whatever its number and case", () => {
  const scores = textScores("Two DOGS chase a red ball.", "2 dogs and three cats chase a ball");
  expect(scores.names).toBeCloseTo(3 / 4, 9); // dog, chase, ball of dog, cat, chase, ball
  expect(scores.numbers).toBe(0.5);
  expect(textScores("A dog.", "A dog.").numbers).toBe(1);
});

describe("a student before held-out clips", () => {
  const pairs: TeacherPair[] = Array.from({ length: 12 }, (_, i) => ({
    id: `c${i}`,
    source: `s${i}`,
    system: RULES.instructions.merge,
    user: `Short caption: dog ${i} runs.`,
    answer: `Dog ${i} runs over a wide meadow towards a low fence.`,
    model: "teacher",
  }));
  const numberOf = (asked: Asked) => /dog (\d+)/.exec(saidIn(asked))![1];
  const teacherText = (asked: Asked) => `Dog ${numberOf(asked)} runs over a wide green meadow to a low fence.`;
  /** Prefers the longer caption; `always` says A whatever it is. */
  const judgeText = (asked: Asked, always: boolean) => {
    const [, a, b] = /Caption A: (.*)\n\nCaption B: (.*)\n\n/.exec(saidIn(asked))!;
    return JSON.stringify({ better: always || a!.length > b!.length ? "A" : a!.length < b!.length ? "B" : "same" });
  };
  const run = async (studentText: (asked: Asked) => string, { always = false, floor = 0.9 } = {}) => {
    await using student = await chatServer({ models: { data: [{ id: "student" }] }, answer: studentText });
    await using teacher = await chatServer({
      models: { data: [{ id: "teacher" }] },
      answer: (asked) => (saidIn(asked).includes("Caption A") ? judgeText(asked, always) : teacherText(asked)),
    });
    const ledger = await Ledger.open(memoryLedgerStore());
    const [own, other] = [await captionModel({ url: student.url }, ledger), await captionModel({ url: teacher.url }, ledger)];
    const report = await compare(pairs, { student: own, teacher: other, rules: RULES.caption, floor });
    return { report, asked: { student: student.asked, teacher: teacher.asked } };
  };

  it("as good as the teacher a second time may take over", async () => {
    const { report, asked } = await run(teacherText);
    expect(report.below).toEqual([]);
    expect(report.student).toEqual(report.ceiling);
    expect(report).toMatchObject({ clips: 12, failed: [], floor: 0.9 });
    expect(report.ceiling.chrf).toBeGreaterThan(0.6);
    expect(report.ceiling.numbers).toBe(1);
    expect(asked.student[0]!.body.seed).toBe(0);
    expect(asked.teacher.find((one) => !saidIn(one).includes("Caption A"))!.body.seed).toBe(1);
    expect(asked.teacher, "a second caption of each, and both judged in both orders").toHaveLength(12 * 5);
  });

  it("one that says less, or breaks the rules, is below the floor, and by what is told", async () => {
    const { report } = await run(() => "The video shows a dog.");
    const measures = report.below.map(({ measure }) => measure);
    expect(measures).toEqual(["chrf", "rougeL", "names", "numbers", "lawful", "judged"]);
    expect(report.student).toMatchObject({ lawful: 0, judged: 0, numbers: 0 });
  });

  it("a judge that names the first one whatever it is decides nothing", async () => {
    const { report } = await run(() => "A dog.", { always: true });
    expect([report.student.judged, report.ceiling.judged]).toEqual([0.5, 0.5]);
  });
});

describe("a job of a fine-tuning API", () => {
  /** Files and jobs, as the API keeps them; `fails` makes requests fail as they come. */
  async function api({ statuses = ["queued", "running", "succeeded"], fails = [] as string[], error = "" } = {}) {
    const files: string[] = [];
    const jobs: Record<string, any>[] = [];
    const looks: number[] = [];
    const pending = [...fails];
    const server = await chatServer({
      answer: () => "x",
      other(request, body, response) {
        const json = (value: unknown, status = 200): true => {
          response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
          return true;
        };
        const at = `${request.method} ${request.url!.replace(/job-\d+/, "ID")}`;
        if (pending[0] === at) {
          pending.shift();
          // The job is made, though its answer is lost.
          if (at === "POST /v1/fine_tuning/jobs") jobs.push({ id: `job-${jobs.length}`, looks: 0, ...JSON.parse(String(body)) });
          return json({ error: { message: "try again" } }, 503);
        }
        if (request.headers.authorization !== "Bearer k") return json({ error: { message: "no key" } }, 401);
        if (at === "POST /v1/files") {
          const text = String(body);
          if (!/name="purpose"\r\n\r\nfine-tune\r\n/.test(text) || !/name="file"; filename="\w+\.jsonl"/.test(text)) return json({}, 400);
          files.push(/\r\n\r\n(\{[^]*?)\r\n--/.exec(text)![1]!);
          return json({ id: `file-${files.length - 1}`, object: "file", purpose: "fine-tune" });
        }
        if (at === "GET /v1/fine_tuning/jobs") return json({ data: jobs });
        if (at === "POST /v1/fine_tuning/jobs") {
          jobs.push({ id: `job-${jobs.length}`, looks: 0, ...JSON.parse(String(body)) });
          return json(jobs.at(-1));
        }
        const job = jobs.find(({ id }) => request.url!.endsWith(id));
        if (at !== "GET /v1/fine_tuning/jobs/ID" || !job) return json({}, 404);
        looks.push(1);
        const status = statuses[Math.min(job["looks"]++, statuses.length - 1)];
        return json({
          ...job,
          status,
          fine_tuned_model: status === "succeeded" ? `ft:${job["model"]}:x` : null,
          error: { message: error },
        });
      },
    });
    return { server, files, jobs, looks };
  }
  const options = (url: string, more: Partial<FineTuneOptions> = {}): FineTuneOptions => ({
    url,
    key: "k",
    base: "small-1",
    train: '{"messages":[]}\n',
    validation: '{"messages":[1]}\n',
    epochs: 2,
    seed: 3,
    suffix: "captions",
    pollSeconds: 0.01,
    keep: () => Promise.resolve(),
    ...more,
  });

  it("is uploaded, made and looked at until it is over", async () => {
    const { server, files, jobs } = await api();
    await using _ = server;
    const told: string[] = [];
    expect(await fineTune(options(server.url, { onStatus: (status) => told.push(status) }))).toBe("ft:small-1:x");
    expect(files).toEqual(['{"messages":[]}\n', '{"messages":[1]}\n']);
    expect(jobs[0]).toMatchObject({
      model: "small-1",
      training_file: "file-0",
      validation_file: "file-1",
      seed: 3,
      suffix: "captions",
      method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 2 } } },
    });
    expect(told).toEqual(["uploading train.jsonl", "uploading validation.jsonl", "queued", "running", "succeeded"]);
  });

  it("is gone on with after an end at any moment: nothing is uploaded or made twice", async () => {
    for (let end = 1; end <= 6; end++) {
      const { server, files, jobs } = await api();
      await using _ = server;
      let state: FineTuneState | undefined;
      let kept = 0;
      const keep = (now: FineTuneState): Promise<void> => {
        state = now;
        return ++kept === end ? Promise.reject(new Error("ended")) : Promise.resolve();
      };
      await expect(fineTune(options(server.url, { keep }))).rejects.toThrow("ended");
      expect(await fineTune(options(server.url, { keep, state }))).toBe("ft:small-1:x");
      expect([files.length, jobs.length], `ended at step ${end}`).toEqual([2, 1]);
    }
  });

  it("whose answer was lost is found again, and not paid for twice", async () => {
    const { server, jobs } = await api({ fails: ["POST /v1/files", "POST /v1/fine_tuning/jobs", "GET /v1/fine_tuning/jobs/ID"] });
    await using _ = server;
    expect(await fineTune(options(server.url))).toBe("ft:small-1:x");
    expect(jobs).toHaveLength(1);
  });

  it("that fails says why, and the next call makes another; another set is another job", async () => {
    const { server, jobs } = await api({ statuses: ["failed"], error: "line 3 has no messages" });
    await using _ = server;
    let state: FineTuneState | undefined;
    const keep = (now: FineTuneState): Promise<void> => {
      state = now;
      return Promise.resolve();
    };
    await expect(fineTune(options(server.url, { keep }))).rejects.toThrow(/the job job-0 must succeed, got failed: line 3 has no messages/);
    await expect(fineTune(options(server.url, { keep, state }))).rejects.toThrow(/job-1 must succeed/);
    await expect(fineTune(options(server.url, { keep, state, train: "{}\n" }))).rejects.toThrow(/job-2/);
    expect(jobs).toHaveLength(3);
    await expect(fineTune(options(server.url, { key: "wrong" }))).rejects.toMatchObject({
      scope: "endpoint",
      message: expect.stringContaining("401 no key"),
    });
  });
});
