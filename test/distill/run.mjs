// Distillation proved whole: pairs out of a ledger, a tiny random LLaMA tuned on them by TRL on the CPU, served, named as an endpoint and
// held against the teacher; the model that was not tuned is below the floor by every measure that the tuned one is better in.
//   npm run distill:prove -- PYTHON     a Python with trl, datasets, transformers, tokenizers and torch
import { execFileSync, spawn } from "node:child_process";
import { createServer } from "node:http";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { execFile } from "node:child_process";

const [python = "python3"] = process.argv.slice(2);
const here = import.meta.dirname;
const launcher = resolve(here, "../../dist/launch.js");
const folder = mkdtempSync(join(tmpdir(), "cogwheel-distill-"));
const colors = ["red", "blue", "green", "white"];
const shapes = ["circle", "square", "star"];
const ways = ["left", "right", "up", "down", "in a ring"];
const captionOf = (color, shape, way) => `A ${color} ${shape} moves ${way} over a black background while the camera stands still.`;

/** A data set of 120 clips of 60 sources, with the ledger that captioning by steps leaves. */
function dataset() {
  const [rows, ledger] = [[], []];
  for (let i = 0; i < 120; i++) {
    const [color, shape, way] = [colors[i % 4], shapes[(i >> 2) % 3], ways[(i * 7) % 5]];
    const [id, source] = [`clip${i}`, `film-${i % 60}`];
    const text = captionOf(color, shape, way);
    const request = { system: "Merge.", parts: [{ text: `Short caption: ${color} ${shape}, ${way}.` }], temperature: 0.1, seed: 0 };
    rows.push({ file_name: `videos/${id}.mp4`, caption: text, source: { sha256: source } });
    const value = { text, asked: "teacher", model: "teacher", source, tries: [{ request, answer: text }] };
    ledger.push({ stage: "caption.merge", key: id, of: id, value, ms: 1 });
  }
  mkdirSync(join(folder, "set/.curation"), { recursive: true });
  const lines = (list) => list.map((one) => `${JSON.stringify(one)}\n`).join("");
  writeFileSync(join(folder, "set/metadata.jsonl"), lines(rows));
  writeFileSync(join(folder, "set/.curation/ledger.jsonl"), lines(ledger));
}

/** The teacher, which also judges: the caption with more of the words that are right. */
const teacher = createServer(async (request, response) => {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  response.setHeader("content-type", "application/json");
  if (request.method === "GET") return response.end(JSON.stringify({ data: [{ id: "teacher" }] }));
  const user = JSON.parse(String(Buffer.concat(pieces))).messages.at(-1).content;
  const [, color, shape, way] = /Short caption: (\w+) (\w+), ([\w ]+)\./.exec(user);
  const [, a, b] = /Caption A: ([^]*?)\n\nCaption B: ([^]*?)\n\n/.exec(user) ?? [];
  const right = (text) => [color, shape, way].filter((word) => text.includes(word)).length;
  const better = a === undefined ? undefined : right(a) > right(b) ? "A" : right(a) < right(b) ? "B" : "same";
  const content = better ? JSON.stringify({ better }) : captionOf(color, shape, way);
  const usage = { prompt_tokens: 50, completion_tokens: 20 };
  response.end(JSON.stringify({ model: "teacher", choices: [{ message: { role: "assistant", content }, finish_reason: "stop" }], usage }));
});

/** Serves a folder's model while `work` runs. */
async function served(model, work) {
  const child = spawn(python, [join(here, "serve.py"), model], { stdio: ["ignore", "pipe", 2] });
  try {
    const port = await new Promise((found, failed) => {
      child.stdout.once("data", (data) => found(Number(String(data))));
      child.once("exit", () => failed(new Error("the server ended")));
    });
    return await work(`http://127.0.0.1:${port}/v1`);
  } finally {
    child.kill();
  }
}

const cogwheel = (...args) =>
  promisify(execFile)(process.execPath, [launcher, "data", "distill", ...args], { maxBuffer: 1e8 }).catch((error) => error);
try {
  dataset();
  await new Promise((done) => teacher.listen(0, "127.0.0.1", done));
  const [set, pairs] = [join(folder, "set"), join(folder, "pairs")];
  const base = join(folder, "base");
  console.log((await cogwheel("export", set, "--out", pairs, "--base", base)).stdout);
  execFileSync(python, [join(here, "tiny_llama.py"), join(pairs, "train.jsonl"), base], { stdio: "inherit" });
  const compare = (model) =>
    served(model, async (url) => {
      const teacherUrl = `http://127.0.0.1:${teacher.address().port}/v1`;
      const told = await cogwheel("compare", set, "--url", url, "--teacher-url", teacherUrl, "--json");
      if (!told.stdout) throw new Error(told.stderr);
      return JSON.parse(told.stdout);
    });
  const before = await compare(base);
  const tuned = await cogwheel(
    "train",
    pairs,
    "--base",
    base,
    "--python",
    python,
    "--rank",
    "0",
    "--epochs",
    "10",
    "--lr",
    "3e-3",
    "--json",
  );
  if (!tuned.stdout) throw new Error(`${tuned.message}\n${tuned.stderr}`);
  const { loss_before, loss_after, model } = JSON.parse(tuned.stdout);
  const after = await compare(model);
  console.table({ before: before.student, after: after.student, ceiling: after.ceiling });
  const below = after.below.map(({ measure }) => measure).join(", ") || "nothing";
  console.log(`loss on held-out pairs: ${loss_before.toFixed(3)} → ${loss_after.toFixed(3)}; below the floor: ${below}`);
  if (!(loss_after < loss_before / 2)) throw new Error("the loss did not halve");
  if (!(before.student.chrf < 0.3 && after.student.chrf > 0.6 && after.student.chrf > 2 * before.student.chrf))
    throw new Error("the student did not come near to the teacher");
  console.log("proved");
} finally {
  teacher.close();
  rmSync(folder, { recursive: true, force: true });
}
