/** Queues of jobs that tests run over: a folder, and a real NATS server where one can be had. */
import { join } from "node:path";
import type { JobBackend } from "../../src/jobs/backend.ts";
import { openEmbedded } from "../../src/jobs/embedded-node.ts";
import { openNats } from "../../src/jobs/nats-node.ts";
import { natsServer, startNats } from "./nats-server.ts";

/** `end` stops the server, once the queue is closed. */
export type TestQueue = JobBackend & { readonly end?: () => Promise<void> };

const servers = await natsServer();

/** For `describe.each`: where the jobs are, and what opens a queue of its own in a folder. */
export const jobQueues: readonly (readonly [where: "a folder" | "NATS", open: (folder: string) => Promise<TestQueue>])[] = [
  ["a folder", (folder) => openEmbedded(join(folder, "queue"))],
  ...(servers instanceof Error ? [] : ([["NATS", (folder: string) => overNats(servers, folder)]] as const)),
];

async function overNats(path: string, folder: string): Promise<TestQueue> {
  const server = await startNats(path, join(folder, "nats"));
  return Object.assign(await openNats(server.url), { end: async () => server[Symbol.asyncDispose]() });
}
