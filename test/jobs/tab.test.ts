/** A tab of a browser as a worker: with rights to work and nothing else, over a WebSocket; closed in mid job, nothing is lost. */
import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { connect } from "@nats-io/transport-node";
import { expect, test } from "vitest";
import { kernelsVersion } from "../../build/kernels-version.ts";
import { openNats } from "../../src/jobs/nats-node.ts";
import { isOver, JobStore } from "../../src/jobs/store.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { siteHeaders } from "../../web/headers.ts";
import { serveFolder } from "../../web/server.ts";
import { launchChromium, troublesOf } from "../support/chromium.ts";
import { jobWorker, untilJob } from "../support/job-worker.ts";
import { freePort, natsServer, startNats } from "../support/nats-server.ts";

const path = await natsServer();
const MODEL = resolve("models/moving-shapes");
const request = {
  kind: "text",
  ...{ model: "moving-shapes", prompt: "a red circle moving left", seed: 5 },
  ...{ width: 32, height: 32, frames: 9, steps: 3 },
} as const;

/** The users of docs/scale-out.md, as it has them. */
async function users(): Promise<string> {
  const page = await readFile("docs/scale-out.md", "utf8");
  const [, users] = /```\n(# a user for tabs[\s\S]*?)```/.exec(page)!;
  return users!.replaceAll("$PASSWORD", "all").replaceAll("$TAB_PASSWORD", "tab");
}

test.skipIf(path instanceof Error)(
  "a tab makes videos for a queue; closed in mid job, another worker goes on from there",
  async () => {
    execFileSync(process.execPath, ["build.mjs", "--web", "--if-stale"]);
    const folder = await mkdtemp(join(tmpdir(), "cogwheel-tab-"));
    const ws = await freePort();
    await using nats = await startNats(path as string, folder, `websocket { listen: "127.0.0.1:${ws}", no_tls: true }\n${await users()}`);
    const at = (user: string, password: string): string => nats.url.replace("//", `//${user}:${password}@`);
    await using backend = await openNats(at("videos", "all"));
    const store = new JobStore(backend);
    await using site = await serveFolder("dist/web", {}, { headers: await siteHeaders("dist/web") });
    const browser = await launchChromium();
    try {
      const context = await browser.newContext();
      const page = await context.newPage();
      const wrong = troublesOf(page);
      await page.goto(`${site.url}join.html?lease=2#ws://127.0.0.1:${ws}`);
      await page.fill("#user", "tab");
      await page.fill("#password", "wrong");
      await page.click("#start");
      await page.waitForFunction(() => /must answer .* got .*uthori/i.test(document.getElementById("state")!.textContent!));
      await page.fill("#password", "tab");
      await page.click("#start");
      const { id } = await store.create({ request });
      const made = await untilJob(store, id, isOver, 120_000).catch(async (error: unknown) => {
        throw new Error(`${await page.textContent("main")} ${wrong.join("\n")}`, { cause: error });
      });
      expect(made, JSON.stringify(made.error)).toMatchObject({ status: "completed", attempts: 1 });
      expect(await page.textContent("#state")).toMatch(/^Connected as tab-/);
      const { id: left } = await store.create({ request: { ...request, steps: 200 } });
      const reached = await untilJob(store, left, ({ step }) => step >= 2, 120_000);
      expect(reached.lease?.worker).toMatch(/^tab-/);
      expect(wrong.filter((line) => !/WebSocket|ERR_/.test(line))).toEqual([]);
      await context.close();
      const closed = (await store.get(left))!;
      const { version } = JSON.parse(await readFile("package.json", "utf8")) as { version: string };
      const models = [{ name: "moving-shapes", open: (keep: boolean) => CogVideoX.open(MODEL, { keep }) }];
      await using worker = jobWorker(store, "other", { models, version: `${version} ${kernelsVersion}`, previewMs: 0 });
      const job = await untilJob(store, left, isOver, 120_000);
      expect(job, JSON.stringify(job.error)).toMatchObject({ status: "completed", attempts: 2 });
      const from = Number(/goes on from step (\d+) of 200/.exec(worker.notes.join("\n"))?.[1]);
      expect(from, "of what was saved nothing is done again").toBeGreaterThanOrEqual(closed.step);
    } finally {
      await browser.close();
    }
    // What a tab has no need of it may not do.
    const tab = await connect({ servers: nats.url.slice("nats://".length), user: "tab", pass: "tab" });
    const refused = async (subject: string): Promise<void> => {
      await expect(tab.request(subject, "{}", { timeout: 1000 }), subject).rejects.toThrow(/ermission/);
    };
    await refused("$JS.API.STREAM.DELETE.cogwheel_blobs");
    await refused("$JS.API.STREAM.CREATE.other");
    await refused("$KV.cogwheel_jobs.key.x");
    await refused("$JS.API.DIRECT.GET.KV_cogwheel_jobs.$KV.cogwheel_jobs.key.x");
    await refused("elsewhere");
    await tab.close();
    await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  },
  300_000,
);
