// The server under others' clients and under load: PyPI's openai and Prometheus' parser, then 1,000 requests of mixed kinds from 50 clients
// in a minute while generations run. Prints a line for each, and ends with 1 where something is not as it must be.
//   npm run serve:prove [-- --comfyui PYTHON]     a Python with torch, numpy, pillow and av: then the nodes of examples/comfyui too
import { spawn } from "node:child_process";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { pythonFor } from "../../support/python-environment.mjs";
import { serving } from "./serving.mjs";

const { comfyui } = parseArgs({ options: { comfyui: { type: "string" } } }).values;
const here = import.meta.dirname;
const [CLIENTS, REQUESTS, SECONDS] = [50, 1000, Number(process.env.SECONDS ?? 60)];

// The adapter has one thread, as it would be a GPU's own.
const { url, memory, end } = await serving([], { LP_NUM_THREADS: "1" });

const runs = (interpreter, script) =>
  new Promise((done) => {
    const child = spawn(interpreter, ["-W", "ignore", join(here, script), url], { stdio: "inherit" });
    child.on("close", (code) => done(code === 0));
  });
const python = () =>
  runs(pythonFor({ what: "serve", purpose: "to ask as PyPI's openai does", requirements: join(here, "requirements.txt") }), "client.py");

const small = { prompt: "x", size: "32x32", num_frames: 8, num_inference_steps: 3, guidance_scale: 1 };
const post = (path, body, headers = {}) =>
  fetch(url + path, { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) });
const ids = [];
const any = () => ids[Math.floor(Math.random() * ids.length)];

/** What a client may ask, how often of a hundred, and the statuses that it may be answered. */
const KINDS = {
  status: [50, [200, 404], () => fetch(`${url}/v1/videos/${any()}`)],
  list: [10, [200], () => fetch(`${url}/v1/videos?limit=20`)],
  create: [
    10,
    [200],
    async () => {
      const answer = await post("/v1/videos", small);
      if (answer.ok) ids.push((await answer.clone().json()).id);
      return answer;
    },
  ],
  content: [10, [200, 206, 404, 409, 410], () => fetch(`${url}/v1/videos/${any()}/content`, { headers: { range: "bytes=0-999" } })],
  cancel: [4, [200, 404], () => fetch(`${url}/v1/videos/${any()}/cancel`, { method: "POST" })],
  remove: [2, [200, 404], () => fetch(`${url}/v1/videos/${any()}`, { method: "DELETE" })],
  repeat: [4, [200, 409], () => post("/v1/videos", small, { "idempotency-key": `k${Math.floor(Math.random() * 5)}` })],
  wrong: [6, [400], () => post("/v1/videos", { ...small, width: 17 })],
  metrics: [2, [200], () => fetch(`${url}/metrics`)],
  nothing: [2, [404], () => fetch(`${url}/v1/nothing`)],
};
const bag = Object.entries(KINDS).flatMap(([kind, [times]]) => Array.from({ length: times }, () => kind));

async function load() {
  for (let i = 0; i < 3; i++) ids.push((await (await post("/v1/videos", { ...small, num_inference_steps: 200 })).json()).id);
  const times = {};
  const wrong = [];
  const first = memory();
  const began = performance.now();
  let next = 0;
  await Promise.all(
    Array.from({ length: CLIENTS }, async () => {
      for (let n = next++; n < REQUESTS; n = next++) {
        await pause(Math.max(0, began + (SECONDS * 1000 * n) / REQUESTS - performance.now()));
        const kind = bag[Math.floor(Math.random() * bag.length)];
        const [, allowed, ask] = KINDS[kind];
        const at = performance.now();
        const answer = await ask().catch((error) => ({ status: String(error), arrayBuffer: async () => undefined }));
        const ms = performance.now() - at;
        await answer.arrayBuffer();
        (times[kind] ??= []).push(ms);
        if (!allowed.includes(answer.status)) wrong.push(`${kind}: ${answer.status}`);
      }
    }),
  );
  const share = (kind, p) => times[kind].sort((a, b) => a - b)[Math.min(times[kind].length - 1, Math.floor(p * times[kind].length))];
  const p99 = share("status", 0.99);
  console.log(
    `${REQUESTS} requests of ${CLIENTS} clients in ${((performance.now() - began) / 1000).toFixed(0)} s: ${wrong.length} unexplained; ` +
      `status calls p50 ${share("status", 0.5).toFixed(1)} ms, p99 ${p99.toFixed(1)} ms; ` +
      `memory ${first.toFixed(0)} → ${memory().toFixed(0)} MB`,
  );
  if (wrong.length) console.log(wrong.join("\n"));
  return wrong.length === 0 && p99 <= 50 && !(memory() > first + 100);
}

try {
  const fine = [await python(), comfyui ? await runs(comfyui, "comfyui.py") : true, await load()];
  process.exitCode = fine.every(Boolean) ? 0 : 1;
} finally {
  await end();
}
