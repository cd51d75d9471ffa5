/** The work of `cogwheel serve`. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { openJobs } from "../../jobs/open-node.ts";
import { Tracing } from "../../jobs/tracing.ts";
import { readOffer } from "../../pipelines/cogvideox/offer.ts";
import { defined } from "../../pipelines/options.ts";
import { visible } from "../../base/visible.ts";
import { CogwheelError } from "../../base/errors.ts";
import { startServer } from "../../server/serve-node.ts";
import { WorkerBeside } from "../../server/worker-node.ts";
import type { ModelDeviceFlags } from "../flags.ts";
import { readInput } from "../files.ts";
import { modelName } from "../worker.ts";
import { EMBEDDED_MODEL, packageInfo, packageRoot } from "../package-root.ts";
import { interruptible } from "../terminal/interrupt.ts";
import { complain, print } from "../terminal/output.ts";

export interface KeyFlags {
  queue: string;
  requests?: number;
  jobs?: number;
  pixels?: number;
  keyFile?: string;
  json?: boolean;
}

export interface ServeFlags extends ModelDeviceFlags {
  queue: string;
  model?: string;
  variant?: string;
  host: string;
  port: number;
  maxUpload?: number;
  maxJobs?: number;
  privateWebhooks?: boolean;
  /** `NAME=FILE` each. */
  lora?: readonly string[];
  loraScale: number;
  worker: boolean;
  lease?: number;
  tabs?: string;
}

/** Arguments of Node for a worker of the same queue and model. It ends with its input: this process may be killed at any moment. */
function workerArgs({ queue, model, variant, adapter, dtype, lease }: ServeFlags): string[] {
  const flags = Object.entries(defined({ model, variant, adapter, dtype, lease })).flatMap(([name, value]) => [`--${name}`, String(value)]);
  return [join(packageRoot, "dist/launch.js"), "worker", "--queue", queue, ...flags, "--until-input-ends"];
}

/** Bytes of an adapter's file at most. */
const ADAPTER_BYTES = 4e9;

async function adapterFiles(given: readonly string[] = []): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  for (const text of given) {
    const [, name, path] = /^([^=]+)=(.+)$/.exec(text) ?? [];
    if (name === undefined || path === undefined || files.has(name))
      throw new CogwheelError(
        "serve",
        `--lora must be NAME=FILE, each name once, got ${JSON.stringify(text)}; such as water=lora.safetensors`,
      );
    files.set(name, new Uint8Array(await readInput(path, { limit: ADAPTER_BYTES })));
  }
  return files;
}

export async function runServer(flags: ServeFlags): Promise<undefined> {
  const { queue, host, port, maxUpload, maxJobs, privateWebhooks, model = EMBEDDED_MODEL } = flags;
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    throw new CogwheelError("serve", `--port must be a whole number from 0 to 65535, got ${port}`);
  if (maxJobs !== undefined && (!Number.isInteger(maxJobs) || maxJobs < 1))
    throw new CogwheelError("serve", `--max-jobs must be a whole number from 1 up, got ${maxJobs}`);
  if (flags.tabs !== undefined && !/^https?:$/.test(URL.canParse(flags.tabs) ? new URL(flags.tabs).protocol : ""))
    throw new CogwheelError("serve", `--tabs must be an http or https address, got ${visible(flags.tabs)}; such as https://…/join.html`);
  const adapters = { files: await adapterFiles(flags.lora), maxScale: flags.loraScale };
  using interruption = interruptible();
  const { signal } = interruption;
  const offer = { ...(await readOffer(model, { hub: { signal }, onWarning: complain })), name: modelName(model) };
  // A worker beside it tells what is to be said of the queue.
  await using backend = await openJobs(queue, flags.worker ? undefined : complain);
  let worker: WorkerBeside | undefined;
  await using server = await startServer({
    backend,
    offer,
    version: packageInfo().version,
    host,
    port,
    adapters,
    script: new Uint8Array(await readFile(join(packageRoot, "dist/cogwheel-serve-page.js"))),
    ...defined({ maxUpload, maxJobs, privateWebhooks, tabs: flags.tabs, tracing: await Tracing.load(packageInfo().version, complain) }),
    trouble: () => (flags.worker ? (worker ? worker.trouble : "the worker has not begun") : undefined),
    onWarning: complain,
  });
  await using started = flags.worker ? new WorkerBeside({ args: workerArgs(flags), onWarning: complain }) : undefined;
  worker = started;
  print(`Listening on ${server.url} (a page for people too), jobs in ${backend.name}, model ${offer.name}.`);
  if (!server.locked) print("No keys: it answers this machine alone. Make one with `cogwheel serve keys add NAME`.");
  await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
  return undefined;
}
