/** `cogwheel serve` in bare processes: killed in the middle of a job it goes on after the restart, to the same bytes. */
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, it } from "vitest";
import { serveProcess, type ServeProcess } from "../support/serve-process.ts";

const run = promisify(execFile);
const LAUNCH = join(import.meta.dirname, "../../dist/launch.js");
/** Small and quick; the sampler draws in no step. */
const FIELDS = { prompt: "a red circle moving left", num_frames: 8, size: "32x32", num_inference_steps: 12, guidance_scale: 1, seed: 5 };

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogwheel-serve-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const start = (): Promise<ServeProcess> => serveProcess(["--queue", join(folder, "jobs"), "--lease", "2"], folder);
const clientOf = ({ url }: ServeProcess): OpenAI => new OpenAI({ apiKey: "none", baseURL: `${url}/v1`, maxRetries: 0 });
type Video = OpenAI.Video & { step: number };
const create = async (client: OpenAI): Promise<Video> => (await client.videos.create(FIELDS as unknown as { prompt: string })) as Video;

async function until(client: OpenAI, id: string, reached: (video: Video) => boolean): Promise<Video> {
  for (;;) {
    const video = (await client.videos.retrieve(id)) as Video;
    if (video.status === "failed") throw new Error(JSON.stringify(video.error));
    if (reached(video)) return video;
    await pause(20);
  }
}
const etag = async (client: OpenAI, id: string): Promise<string | null> => (await client.videos.downloadContent(id)).headers.get("etag");

it("goes on after kill -9 of server and worker, to the same bytes; stops by a signal", async () => {
  let undisturbed: string | null;
  let id: string;
  {
    await using server = await start();
    const client = clientOf(server);
    const first = await create(client);
    await until(client, first.id, ({ status }) => status === "completed");
    undisturbed = await etag(client, first.id);
    ({ id } = await create(client));
    await until(client, id, ({ step }) => step >= 3);
    await server.kill();
  }
  await using server = await start();
  const client = clientOf(server);
  const found = (await client.videos.retrieve(id)) as Video;
  expect(found.status).toBe("in_progress");
  expect(found.step).toBeGreaterThanOrEqual(3);
  await until(client, id, ({ status }) => status === "completed");
  expect(await etag(client, id)).toBe(undisturbed);
  expect(Number(/goes on from step (\d+) of 12/.exec(server.said())?.[1])).toBeGreaterThanOrEqual(3);

  // A worker that dies is started again; the server answers meanwhile.
  const [worker] = await workers();
  process.kill(worker!, "SIGKILL");
  await expect.poll(() => server.said(), { timeout: 20_000 }).toMatch(/the worker ended: SIGKILL; it is started again[^]*takes jobs for/);
  expect((await fetch(`${server.url}/readyz`)).status).toBe(200);
  expect(await workers()).not.toEqual([worker]);
  expect(await server.stop()).toBe(0);
}, 120_000);

/** The workers of the folder's queue. */
async function workers(): Promise<number[]> {
  const { stdout } = await run("ps", ["-A", "-o", "pid=,args="]);
  const own = stdout.split("\n").filter((line) => line.includes(`worker --queue ${join(folder, "jobs")} `));
  return own.map((line) => Number.parseInt(line, 10));
}

it("keys are added, listed and removed, and a server for others asks for them", async () => {
  const cogwheel = async (...args: string[]): Promise<string> => (await run(process.execPath, [LAUNCH, ...args], { cwd: folder })).stdout;
  await expect(cogwheel("serve", "--queue", "keyed", "--host", "0.0.0.0", "--no-worker")).rejects.toThrow(
    /must ask for keys, got host 0\.0\.0\.0/,
  );
  const added = JSON.parse(await cogwheel("serve", "keys", "add", "ann", "--queue", "keyed", "--jobs", "3", "--json")) as Record<
    string,
    string
  >;
  expect(added["key"]).toMatch(/^cw_[\w-]{43}$/);
  expect(await cogwheel("serve", "keys", "list", "--queue", "keyed")).toMatch(/ann .* 3 jobs/);
  await expect(cogwheel("serve", "keys", "add", "ann", "--queue", "keyed")).rejects.toThrow(/must be new, got ann/);
  const drawn = "0123456789abcdef".repeat(4);
  await writeFile(join(folder, "key.txt"), `${drawn}\n`);
  for (let n = 0; n < 2; n++)
    expect(await cogwheel("serve", "keys", "add", "bob", "--key-file", "key.txt", "--queue", "keyed")).toBe(
      "The key of key.txt is known as bob.\n",
    );
  await expect(cogwheel("serve", "keys", "add", "eve", "--key-file", "key.txt", "--queue", "keyed")).rejects.toThrow(/got the one of bob/);
  {
    await using server = await serveProcess(["--queue", "keyed", "--no-worker"], folder);
    expect((await fetch(`${server.url}/v1/videos`)).status).toBe(401);
    const shown = { headers: { authorization: `Bearer ${added["key"]}` } };
    expect((await fetch(`${server.url}/v1/videos`, shown)).status).toBe(200);
    expect((await fetch(`${server.url}/v1/videos`, { headers: { authorization: `Bearer ${drawn}` } })).status).toBe(200);
    await cogwheel("serve", "keys", "remove", "ann", "--queue", "keyed");
    await expect.poll(async () => (await fetch(`${server.url}/v1/videos`, shown)).status, { timeout: 5000 }).toBe(401);
  }
  await cogwheel("serve", "keys", "remove", "bob", "--queue", "keyed");
  expect(await cogwheel("serve", "keys", "list", "--queue", "keyed")).toMatch(/No keys/);
}, 60_000);
