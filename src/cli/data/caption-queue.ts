/** Captions that the workers of a queue are asked for, each by a server of its own. */
import { CogwheelError } from "../../base/errors.ts";
import type { EndpointOptions } from "../../curation/endpoint/options.ts";
import { openJobs } from "../../jobs/open-node.ts";
import { QueuedChat } from "../../tasks/captions.ts";
import { engineVersion } from "../engine-version.ts";
import { queuedFolder } from "../queued-folder.ts";
import type { CaptionConfig } from "./caption-keys.ts";

/** What messages call the queue's servers. */
const PLACE = "http://queue/v1";
/** How long a worker is waited for: as long as it takes. Requests have the config's own limit, which travels with them. */
const PATIENCE_SECONDS = 86_400;
const TIMEOUT_SECONDS = 120;

export interface CaptionQueue extends AsyncDisposable {
  /** The config, as if the queue were a server. */
  readonly config: CaptionConfig;
  /** An endpoint whose requests go over the queue. */
  through(endpoint: EndpointOptions): EndpointOptions;
}

/** Throws where the config names an address too, or no model. @param out folder of the data set */
export async function captionQueue(
  queue: string,
  config: CaptionConfig,
  out: string,
  { signal = new AbortController().signal, warn }: { signal?: AbortSignal | undefined; warn: (message: string) => void },
): Promise<CaptionQueue> {
  const { url, summariserUrl, model } = config;
  for (const [name, address] of Object.entries({ url, summariserUrl }))
    if (address !== undefined)
      throw new CogwheelError("caption", `models are asked over a queue or at an address, got --queue and ${name}; leave one of them out`);
  if (model === undefined)
    throw new CogwheelError("caption", "captions over a queue must name the model that workers ask, got none; give it with --model");
  const backend = await openJobs(queue, warn);
  const chat = new QueuedChat(backend, {
    ...queuedFolder(out, "captions "),
    version: engineVersion(),
    model,
    signal,
    timeoutSeconds: config.timeout ?? TIMEOUT_SECONDS,
    onNote: warn,
  });
  return {
    config: { ...config, url: PLACE },
    // A key is the workers' own.
    through: ({ key: _, ...endpoint }) => ({ ...endpoint, fetch: chat.fetch, timeoutSeconds: PATIENCE_SECONDS }),
    async [Symbol.asyncDispose]() {
      await chat[Symbol.asyncDispose]();
      await backend[Symbol.asyncDispose]();
    },
  };
}
