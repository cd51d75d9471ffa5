/** A short form of `npm run jobs:prove`: everything that works on jobs is killed -9 while they are made. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { natsServer, startNats } from "../support/nats-server.ts";
import { prove } from "./prove/prove.ts";

const path = await natsServer();

test.skipIf(path instanceof Error)(
  "12 jobs, two workers each killed twice, the server and nats-server killed: each job is done once, with the bytes of an undisturbed run",
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "cogwheel-prove-"));
    {
      await using server = await startNats(path as string, folder);
      const { problems, words } = await prove({ jobs: 12, workers: 2, kills: 2, serverKills: 1 }, server.url, () => server.restart(500));
      expect(problems, words).toEqual([]);
    }
    await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  },
  300_000,
);
