/** A server of jobs on loopback, in a folder of its own, with the embedded model; and what a worker leaves of a job, without its work. */
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { JobBackend } from "../../src/jobs/backend.ts";
import { openEmbedded } from "../../src/jobs/embedded-node.ts";
import { outputBlob, type Job } from "../../src/jobs/job.ts";
import { JobStore } from "../../src/jobs/store.ts";
import { readOffer } from "../../src/pipelines/cogvideox/offer.ts";
import { Keys, type KeyLimits } from "../../src/server/keys.ts";
import { startServer, type RunningServer, type ServerOptions } from "../../src/server/serve-node.ts";

export const MODEL = join(import.meta.dirname, "../../models/moving-shapes");

export interface JobServer extends AsyncDisposable {
  readonly url: string;
  readonly backend: JobBackend;
  readonly store: JobStore;
  readonly warnings: string[];
  /** Keys by name. */
  readonly keys: Readonly<Record<string, string>>;
}

export async function jobServer(
  keys: Readonly<Record<string, KeyLimits>> = {},
  options: Partial<ServerOptions> & { readonly model?: string } = {},
): Promise<JobServer> {
  const folder = await mkdtemp(join(tmpdir(), "cogwheel-serve-"));
  const backend = await openEmbedded(join(folder, "jobs"));
  const made: Record<string, string> = {};
  for (const [name, limits] of Object.entries(keys)) made[name] = (await new Keys(backend.values).add(name, limits)).key;
  const warnings: string[] = [];
  const { model = MODEL, ...rest } = options;
  const offer = await readOffer(model);
  const server: RunningServer = await startServer({ backend, offer, version: "0", onWarning: (line) => warnings.push(line), ...rest });
  return {
    url: server.url,
    backend,
    store: new JobStore(backend),
    warnings,
    keys: made,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await backend[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Leaves of a job what a worker does in the end. */
export async function complete({ backend, store }: JobServer, id: string, video: Uint8Array): Promise<Job> {
  const blob = outputBlob(id, "video");
  await backend.blobs.put(blob, video);
  const output = { blob, type: "video/mp4", bytes: video.length, digest: createHash("sha256").update(video).digest("hex") };
  const job = await store.update(id, (now) => ({ ...now, status: "completed", progress: 100, completedAt: Date.now(), output }));
  return job!;
}
