// A page and videos over HTTP, with the progress as events: node server.mjs [PORT] [MODEL]
// Jobs that outlive the process, keys and limits are what `cogwheel serve` has; this is for an app that has a server already.
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { CogVideoX } from "cogwheel-webgpu/worker"; // the model in a thread of its own, so that the server answers while it works

const [port = "8080", from] = process.argv.slice(2);
const page = `<!doctype html><html lang="en"><title>Videos</title><link rel="icon" href="data:,">
<form><input name="prompt" value="a red circle moving left on a black background" size="60"><button>Make</button></form>
<p role="status"></p><video loop autoplay muted></video>
<script>
  const [form, status, video] = ["form", "p", "video"].map((name) => document.querySelector(name));
  form.onsubmit = (event) => {
    event.preventDefault();
    const events = new EventSource("events?" + new URLSearchParams(new FormData(form)));
    const on = (name, show) => events.addEventListener(name, ({ data }) => (status.textContent = show(JSON.parse(data))));
    on("queued", () => "waits for others");
    on("progress", ({ overall, secondsLeft }) => Math.round(100 * overall) + " %, " + Math.ceil(secondsLeft ?? 0) + " s left");
    on("done", ({ url, seed }) => { events.close(); video.src = url; return "done, seed " + seed; });
    on("failed", ({ message }) => { events.close(); return message; });
  };
</script></html>`;

const model = await CogVideoX.open(from);
const videos = new Map(); // the last twenty, by name

/** One video as a stream of events. Calls of `generate` queue by themselves, one model makes one video at a time. */
async function events(prompt, response) {
  const stop = new AbortController();
  response.on("close", () => stop.abort()); // whoever leaves ends the run within a step, and gives the turn to the next
  const send = (event, data) => response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  try {
    const onProgress = (stage, share, detail, all) =>
      stage === "queued" ? send("queued", { share }) : send("progress", { stage, share, detail, ...all });
    const video = await model.generate({ prompt, signal: stop.signal, onProgress });
    const name = randomUUID();
    videos.set(name, Buffer.from(await (await video.blob("mp4")).arrayBuffer()));
    if (videos.size > 20) videos.delete(videos.keys().next().value);
    send("done", { url: `videos/${name}`, seed: video.settings.seed });
  } catch (error) {
    send("failed", { code: error.code, message: error.message }); // `code` is for programs, and stays as it is from version to version
  }
  response.end();
}

const server = createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url, "http://localhost");
  const video = videos.get(pathname.replace("/videos/", ""));
  if (pathname === "/") response.setHeader("content-type", "text/html; charset=utf-8").end(page);
  else if (pathname === "/events") void events(searchParams.get("prompt") ?? "", response);
  else if (video) response.setHeader("content-type", "video/mp4").end(video);
  else response.writeHead(404).end();
});
server.listen(Number(port), "localhost", () => console.log(`${model.adapter}: http://localhost:${server.address().port}/`));

process.once("SIGINT", async () => {
  server.close();
  server.closeAllConnections();
  await model.close(); // ends what is under way, and the thread
});
