// The server under 10,000 connections that others hold: a third say nothing, a third send a head a byte at a time, a third asked once and
// stay. Those that the server lets go come again. Meanwhile a client asks for a job's status. Ends with 1 where something is not as it must
// be: 50 ms for 99 of 100 calls, bounded memory, nothing left once all are gone.
//   npm run serve:load [-- --connections 10000 --seconds 30]     needs as many open files in this process and in the server (ulimit -n)
import { execFileSync, spawn } from "node:child_process";
import { connect } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { serving } from "./serving.mjs";

const { values } = parseArgs({
  options: { connections: { type: "string", default: "10000" }, seconds: { type: "string", default: "30" }, ask: { type: "string" } },
});
const [CONNECTIONS, SECONDS] = [Number(values.connections), Number(values.seconds)];
if (values.ask) {
  const times = [];
  let wrong = 0;
  for (const until = performance.now() + 1000 * SECONDS; performance.now() < until; await pause(20)) {
    const at = performance.now();
    const answer = await fetch(values.ask).catch(() => undefined);
    await answer?.arrayBuffer();
    times.push(performance.now() - at);
    if (answer?.status !== 200) wrong += 1;
  }
  times.sort((a, b) => a - b);
  const share = (p) => times[Math.min(times.length - 1, Math.floor(p * times.length))];
  const text = `${times.length} calls, p50 ${share(0.5).toFixed(1)} ms, p99 ${share(0.99).toFixed(1)} ms`;
  console.log(JSON.stringify({ text, p99: share(0.99), wrong }));
  process.exit();
}
const files = Number(execFileSync("sh", ["-c", "ulimit -Hn"], { encoding: "utf8" }).trim()) || Number.POSITIVE_INFINITY;
if (files < CONNECTIONS + 200) {
  console.error(
    `[load] needs ${CONNECTIONS + 200} open files, got ${files}; raise the hard limit (ulimit -Hn), or ask for fewer --connections`,
  );
  process.exit(2);
}

const { url, memory, openFiles: opened, end } = await serving(["--no-worker"]);
const { hostname, port } = new URL(url);
const body = JSON.stringify({ prompt: "x", num_inference_steps: 2 });
const { id } = await (await fetch(`${url}/v1/videos`, { method: "POST", headers: { "content-type": "application/json" }, body })).json();

let [holding, open, again, refused] = [true, 0, 0, 0];
const sockets = new Set();
const HEAD = `GET /v1/videos/${id} HTTP/1.1\r\nHost: localhost\r\n`;
function hold(kind) {
  const socket = connect(Number(port), hostname);
  sockets.add(socket);
  let slow;
  let connected = false;
  socket.on("connect", () => {
    open += 1;
    connected = true;
    if (kind === 1) {
      let at = 0;
      slow = setInterval(() => socket.write(HEAD[at++ % HEAD.length]), 2000);
    }
    if (kind === 2) socket.write(`${HEAD}\r\n`);
  });
  socket.on("error", () => refused++);
  socket.resume();
  socket.on("close", () => {
    clearInterval(slow);
    sockets.delete(socket);
    if (connected) open -= 1;
    if (!holding) return;
    again += 1;
    setTimeout(() => holding && hold(kind), 100 + 400 * Math.random());
  });
}

/** By a process of its own: this one is busy with its connections. */
async function asked(seconds) {
  const child = spawn(process.execPath, [process.argv[1], "--ask", `${url}/v1/videos/${id}`, "--seconds", String(seconds)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let out = "";
  child.stdout.on("data", (piece) => (out += piece));
  await new Promise((done) => child.on("close", done));
  return JSON.parse(out);
}

try {
  const before = await asked(5);
  const [memoryBefore, filesBefore] = [memory(), opened()];
  console.log(`alone: ${before.text}; ${memoryBefore.toFixed(0)} MB, ${filesBefore} open files`);
  for (let n = 0; n < CONNECTIONS; n++) {
    hold(n % 3);
    if (n % 100 === 0) await pause(20);
  }
  for (let n = 0; n < 100 && open < 0.95 * CONNECTIONS; n++) await pause(100);
  const most = opened();
  const during = await asked(SECONDS);
  const memoryDuring = memory();
  console.log(
    `with ${CONNECTIONS} connections (${most} open files in the server, ${again} came again, ${refused} broken): ${during.text}, ` +
      `${during.wrong} not answered; ${memoryDuring.toFixed(0)} MB`,
  );
  holding = false;
  for (const socket of sockets) socket.destroy();
  for (let n = 0; n < 150 && opened() > filesBefore + 5; n++) await pause(100);
  const after = await asked(5);
  console.log(`after they are gone: ${after.text}; ${memory().toFixed(0)} MB, ${opened()} open files`);
  const fine = during.p99 <= 50 && during.wrong === 0 && !(opened() > filesBefore + 5) && !(memoryDuring > memoryBefore + 500);
  process.exitCode = fine ? 0 : 1;
} finally {
  holding = false;
  await end();
}
