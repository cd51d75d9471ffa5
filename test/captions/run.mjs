// Captions and labels proved against real models of random weights, which answer nonsense, once by a server and once in the process:
// `transformers serve` (FastAPI, PyTorch) with a tiny LLaVA, and transformers.js (ONNX Runtime) with a tiny SmolVLM, a Florence-2 and a
// captioner, in the packed package as an app has it. What is held: the server is found out and understood, every picture that was sent is seen,
// nonsense is asked for again and marked, and nothing is asked twice. How good captions are it cannot say.
//   npm run captions:prove          makes a Python environment once; COGWHEEL_PYTHON names another Python (requirements.txt)
import { execFile, execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { pythonFor } from "../support/python-environment.mjs";

const here = import.meta.dirname;
const python = pythonFor({
  what: "captions",
  purpose: "to serve a model that sees",
  requirements: join(here, "requirements.txt"),
});
const ROOT = resolve(here, "../..");
const launcher = join(ROOT, "dist/launch.js");
const folder = mkdtempSync(join(tmpdir(), "cogwheel-captions-"));
/** Tokens of a picture: tiny_vlm.py. */
const PICTURE_TOKENS = 4;
/** Of transformers.js, which is tried. */
const PEER = "4.3.2";
const env = { ...process.env, HF_HUB_OFFLINE: "1" };

function hold(what, holds, got) {
  if (!holds) throw new Error(`${what}: got ${JSON.stringify(got)}`);
  console.log(`holds: ${what}`);
}

/** Runs `cogwheel data`. @param start the command's file */
async function data(start, ...args) {
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [start, "data", ...args], { maxBuffer: 1e8 });
    return { code: 0, stdout, stderr };
  } catch (error) {
    return { code: error.code, stdout: error.stdout, stderr: error.stderr };
  }
}

const listening = (server) => new Promise((done) => server.listen(0, "127.0.0.1", () => done(server.address().port)));

/** Runs the server until `work` is over. @param work gets its address */
async function served(model, work) {
  const free = createServer();
  const port = await listening(free);
  await new Promise((done) => free.close(done));
  const args = ["-m", "transformers.cli.transformers", "serve", model, "--device", "cpu", "--host", "127.0.0.1", "--port", String(port)];
  const child = spawn(python, args, { stdio: ["ignore", "ignore", "pipe"], env });
  let said = "";
  child.stderr.on("data", (text) => (said += text));
  try {
    const address = `http://127.0.0.1:${port}`;
    for (let waited = 0; ; waited++) {
      if (child.exitCode !== null || waited > 300) throw new Error(`transformers serve must begin, got:\n${said.slice(-3000)}`);
      const alive = await fetch(`${address}/health`).catch(() => undefined);
      if (alive?.ok) break;
      await new Promise((done) => setTimeout(done, 1000));
    }
    return await work(address);
  } finally {
    child.kill();
  }
}

/** Passes everything on to the server, and remembers it. */
function remembering(address, seen) {
  return createServer(async (request, response) => {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    const body = pieces.length ? Buffer.concat(pieces) : undefined;
    const headers = { "content-type": request.headers["content-type"] ?? "application/json" };
    const answer = await fetch(`${address}${request.url}`, { method: request.method, headers, body });
    const text = await answer.text();
    const asked = body && JSON.parse(String(body));
    seen.push({ path: request.url, asked, status: answer.status, answer: answer.ok ? JSON.parse(text) : text });
    response.writeHead(answer.status, { "content-type": "application/json" }).end(text);
  });
}

const picturesOf = ({ messages }) => messages.flatMap(({ content }) => (Array.isArray(content) ? content : [])).filter(isPicture).length;
const isPicture = ({ type }) => type === "image_url";
/** The same question with each picture twice: what that adds to the prompt is what pictures are of it. */
const doubled = (body) => ({
  ...body,
  max_tokens: 1,
  messages: body.messages.map(({ role, content }) => ({
    role,
    content: Array.isArray(content) ? content.flatMap((part) => (isPicture(part) ? [part, part] : [part])) : content,
  })),
});

const rowsOf = (set) => linesOf(join(set, "metadata.jsonl"));
const linesOf = (path) =>
  readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

/** By a server. */
async function byServer(films) {
  const [model, set] = [join(folder, "model"), join(folder, "set")];
  execFileSync(python, [join(here, "tiny_vlm.py"), model], { stdio: ["ignore", "ignore", "inherit"], env });
  await served(model, async (address) => {
    const seen = [];
    const between = remembering(address, seen);
    const url = `http://127.0.0.1:${await listening(between)}/v1`;
    try {
      const config = join(folder, "config.json");
      // Nonsense has no end: so many tokens of it are enough.
      const body = { max_tokens: 48 };
      const caption = { url, longest: 96, body };
      writeFileSync(
        config,
        JSON.stringify({ videos: join(films, "videos"), out: set, cut: { frames: 17 }, caption, label: { body: { max_tokens: 1500 } } }),
      );
      const first = await data(launcher, "caption", config);
      process.stderr.write(first.stderr);
      console.log(first.stdout);
      const asked = seen.filter(({ asked }) => asked);
      hold("the run ends well, or says that clips have no caption", [0, 3].includes(first.code), first);
      hold("the only model is found by the server's list", asked[0].asked.model === model, asked[0].asked.model);
      hold(
        `every one of ${asked.length} requests is answered with 200`,
        asked.every(({ status }) => status === 200),
        asked.map(({ status, answer }) => [status, answer]),
      );
      const counts = [...new Set(asked.map(({ asked }) => picturesOf(asked)))].sort();
      hold("requests of several pictures, of one, and of none for the merge", counts[0] === 0 && counts[1] === 1 && counts[2] > 1, counts);
      for (const count of counts.slice(1)) {
        const one = asked.find(({ asked }) => picturesOf(asked) === count);
        const body = JSON.stringify(doubled(one.asked));
        const twice = await (
          await fetch(`${address}/v1/chat/completions`, { method: "POST", headers: { "content-type": "application/json" }, body })
        ).json();
        const tokens = twice.usage.prompt_tokens - one.answer.usage.prompt_tokens;
        hold(
          `${count} of the pictures that were sent are seen, by the server's count of tokens`,
          tokens === count * PICTURE_TOKENS,
          tokens,
        );
      }
      const rows = rowsOf(set);
      hold("every clip is in the data set", rows.length === 5, rows.length);
      const marked = rows.filter((row) => row.caption_error !== null || row.caption_violations?.length);
      hold("what is nonsense is marked on every clip", marked.length === rows.length, rows);
      const tries = linesOf(join(set, ".curation/ledger.jsonl")).filter(
        ({ stage }) => stage === "caption.merge" || stage === "caption.clip",
      );
      hold(
        "after three retries, each told what was wrong",
        tries.every(({ value }) => value?.tries.length === 4 && /It must be, and is not/.test(JSON.stringify(value.tries[3].request))),
        tries,
      );
      const before = seen.filter(({ asked }) => asked).length;
      const second = await data(launcher, "caption", config);
      hold("a second run asks nothing that was answered", seen.filter(({ asked }) => asked).length === before, second);

      seen.length = 0;
      const labels = await data(launcher, "filter", config, "--label-url", url);
      process.stderr.write(labels.stderr);
      const forms = seen.filter(({ asked }) => asked).map(({ asked }) => asked.response_format?.type ?? "words");
      hold(
        "labels are asked for by a schema, which this server ignores, then in words",
        forms[0] === "json_schema" && forms.at(-1) === "words" && /ignores json_schema/.test(labels.stderr),
        [forms, labels.stderr],
      );
      const told = seen.at(-1).asked.messages[0].content;
      hold("whose schema the model is told", told.includes('"aesthetic"'), told);
      hold("no answer is JSON, and the exit code says so", labels.code === 3, labels);
      const errors = linesOf(join(set, ".curation/columns.jsonl")).map(({ columns }) => columns);
      hold(
        "clips without labels are there, with none",
        errors.length === 5 && errors.every((row) => (row.aesthetic ?? null) === null),
        errors,
      );
      const shown = JSON.stringify(rows[0].caption.slice(0, 60));
      console.log(`${asked.length} requests for captions, ${seen.length} for labels; a caption as it was marked: ${shown}`);
    } finally {
      between.close();
    }
  });
}

/** In the process, as an app has it: the package is packed and installed, with transformers.js beside it. */
async function inProcess(films) {
  const [app, models] = [join(folder, "app"), join(folder, "onnx")];
  execFileSync(python, [join(here, "tiny_onnx.py"), models], { stdio: ["ignore", "ignore", "ignore"], env });
  mkdirSync(app);
  const npm = (args, cwd) => execFileSync("npm", args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  const [{ filename }] = JSON.parse(npm(["pack", "--json", "--ignore-scripts", "--pack-destination", app], ROOT));
  writeFileSync(join(app, "package.json"), JSON.stringify({ private: true, type: "module" }));
  const install = (...names) => npm(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", ...names], app);
  install(`./${filename}`);
  const start = join(app, "node_modules/cogwheel-webgpu/dist/launch.js");
  const body = { dtype: "fp32", max_tokens: 32 };
  const config = (name, caption) => {
    const path = join(folder, `${name}.json`);
    const told = {
      videos: join(films, "videos"),
      out: join(folder, name),
      cut: { frames: 17 },
      caption: { longest: 96, body, ...caption },
    };
    writeFileSync(path, JSON.stringify(told));
    return path;
  };
  const chat = `transformers:${join(models, "smolvlm")}`;
  const steps = config("steps", { url: chat });
  const without = await data(start, "caption", steps);
  hold(
    "without transformers.js it is refused, with how to install it",
    without.code !== 0 && /npm install @huggingface\/transformers/.test(without.stderr),
    without,
  );
  install(`@huggingface/transformers@${PEER}`);
  const first = await data(start, "caption", steps);
  hold("a model that takes texts and pictures captions by steps", first.code === 0, first);
  const rows = rowsOf(join(folder, "steps"));
  hold("every clip has captions of its own", rows.length === 5 && rows.every((row) => row.caption_source === chat), rows);
  const clips = rows.filter((row) => row.num_frames > 1);
  hold("of frames too", clips.length === 4 && clips.every((row) => row.frame_captions.length === 2 && row.short_caption), clips);
  const asked = linesOf(join(folder, "steps/.curation/ledger.jsonl")).filter(({ stage }) => stage.startsWith("caption."));
  const frames = asked.filter(({ stage }) => stage === "caption.frame").map(({ value }) => value.tries[0].answer);
  hold("it sees: other pictures have other answers", new Set(frames).size > 1, frames);
  const second = await data(start, "caption", steps);
  hold("a second run asks nothing", second.code === 0 && /\b0 requests/.test(second.stdout), second);
  const labels = await data(start, "filter", steps, "--label-url", chat);
  hold(
    "labels that are no JSON are marked, and the exit code says so",
    labels.code === 3 && /must hold a JSON object/.test(labels.stdout),
    labels,
  );
  for (const name of ["captioner", "florence"]) {
    const url = `transformers:${join(models, name)}`;
    const captioned = await data(start, "caption", config(`${name}-clip`, { url, path: "clip" }));
    const made = rowsOf(join(folder, `${name}-clip`)).filter(({ caption }) => caption);
    hold(`a model that only captions a picture does so: ${name}`, captioned.code === 0 && made.length === 5, captioned);
    hold("of each its own", new Set(made.map(({ caption }) => caption)).size > 1, made);
    const merged = await data(start, "caption", config(`${name}-merged`, { url }));
    hold("and is not asked to merge", merged.code === 1 && /summariserUrl/.test(merged.stderr), merged);
  }
  const both = { url: `transformers:${join(models, "florence")}`, summariserUrl: chat };
  const two = await data(start, "caption", config("two", both));
  hold(
    "one that sees and one that writes caption by steps",
    two.code === 0 && rowsOf(join(folder, "two")).every(({ caption }) => caption),
    two,
  );
}

try {
  const films = join(folder, "films");
  const drawn = [films, "--clips", "5", "--pictures", "1", "--size", "96"];
  execFileSync(process.execPath, [resolve(here, "../../dist/draw-clips.js"), ...drawn]);
  await byServer(films);
  await inProcess(films);
  console.log("proved");
} finally {
  rmSync(folder, { recursive: true, force: true });
}
