/** The work of `cogwheel serve keys`. A server that runs asks for the keys as they are at each request. */
import { openJobs } from "../../jobs/open-node.ts";
import { defined } from "../../pipelines/options.ts";
import { Keys, type Key } from "../../server/keys.ts";
import { readInput } from "../files.ts";
import { print, printJson } from "../terminal/output.ts";
import { table } from "../terminal/table.ts";
import type { KeyFlags } from "./run.ts";

const KEY_FILE_BYTES = 10_000;

const limitText = ({ requests, jobs, pixels }: Key["limits"]): string =>
  Object.entries(defined({ requests, jobs, pixels }))
    .map(([name, limit]) => `${limit} ${name}`)
    .join(", ") || "none";

export async function addKey(name: string, { queue, requests, jobs, pixels, keyFile, json }: KeyFlags): Promise<void> {
  const given = keyFile === undefined ? undefined : new TextDecoder().decode(await readInput(keyFile, { limit: KEY_FILE_BYTES })).trim();
  await using backend = await openJobs(queue);
  const { key, kept } = await new Keys(backend.values).add(name, defined({ requests, jobs, pixels }), given);
  if (json) return printJson({ name, ...(given === undefined ? { key } : {}), webhookSecret: kept.webhookSecret, limits: kept.limits });
  if (keyFile !== undefined) return print(`The key of ${keyFile} is known as ${name}.`);
  print(`Key:            ${key}`);
  print(`Webhook secret: ${kept.webhookSecret}`);
  print("The key is shown this once. A server that was started without keys asks for them from its next start on.");
}

export async function listKeys({ queue, json }: KeyFlags): Promise<void> {
  await using backend = await openJobs(queue);
  const keys = await new Keys(backend.values).list();
  if (json) return printJson(keys.map(({ name, createdAt, limits }) => ({ name, createdAt, limits })));
  if (keys.length === 0) return print("No keys.");
  print(
    table(
      ["name", "since", "limits"],
      keys.map((key) => [key.name, new Date(key.createdAt).toISOString(), limitText(key.limits)]),
    ),
  );
}

export async function removeKey(name: string, { queue }: KeyFlags): Promise<void> {
  await using backend = await openJobs(queue);
  await new Keys(backend.values).remove(name);
  print(`Removed ${name}.`);
}
