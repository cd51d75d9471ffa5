/** The worker of a queue in a page's own worker: timers of a page in the background come once a minute, and leases must be renewed. */
import { kernelsVersion } from "../build/kernels-version.ts";
import { CogVideoX } from "../src/index.ts";
import { openNatsInPage } from "../src/jobs/nats-page.ts";
import { JobStore } from "../src/jobs/store.ts";
import { work } from "../src/jobs/worker.ts";
import { defined } from "../src/pipelines/options.ts";
import { embeddedSource } from "./embedded.ts";
import type { FromJoined, ToJoined } from "./join-protocol.ts";

/** Put in by build.mjs. */
declare const PACKAGE_VERSION: string;
/** As workers in Node say it (src/cli/engine-version.ts): a job's continuation must have the same. */
const version = `${PACKAGE_VERSION} ${kernelsVersion}`;

const EMBEDDED = new URL("models/moving-shapes/", self.location.href).href;
const say = (message: FromJoined): void => self.postMessage(message);

let stop: AbortController | undefined;

async function join({ connection, leaseMs }: Extract<ToJoined, { type: "start" }>): Promise<void> {
  stop = new AbortController();
  await using backend = await openNatsInPage(connection);
  const id = `tab-${crypto.randomUUID().slice(0, 8)}`;
  const open = (keep: boolean): Promise<CogVideoX> => CogVideoX.open(embeddedSource(EMBEDDED), { keep });
  say({ type: "joined", as: id });
  await work(
    new JobStore(backend),
    {
      ...{ id, version, models: [{ name: "moving-shapes", open }] },
      onNote: (text) => say({ type: "note", text }),
      ...defined({ leaseMs }),
    },
    stop.signal,
  );
}

self.onmessage = ({ data }: MessageEvent<ToJoined>) => {
  if (data.type === "stop") return stop?.abort(new Error("the page was asked to stop"));
  join(data).then(
    () => say({ type: "ended" }),
    (error: unknown) => say({ type: "ended", error: error instanceof Error ? error.message : String(error) }),
  );
};
