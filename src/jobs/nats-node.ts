/** Jobs on a NATS server (nats.ts), as Node connects to it. */
import { readFile } from "node:fs/promises";
import type { ConnectionOptions, NatsConnection } from "@nats-io/nats-core";
import { CogwheelError } from "../base/errors.ts";
import type { JobBackend } from "./backend.ts";
import { loadStores, openConnected, WAIT_MS } from "./nats.ts";

/**
 * @param address `nats://host:4222`, `tls://`, `ws://`, `wss://`; of a cluster several with commas between them, the first
 *   with `user:password@` or `token@` where the server asks for it. The file that COGWHEEL_NATS_CREDS names (an account's credentials) is
 *   used where it is set.
 */
export async function openNats(address: string, onWarning: (message: string) => void = () => undefined): Promise<JobBackend> {
  const [url, ...others] = address.split(",").map((one, i) => new URL(i > 0 && !one.includes("//") ? `nats://${one}` : one)) as [
    URL,
    ...URL[],
  ];
  const name = `${url.protocol}//${[url, ...others].map(({ host }) => host).join()}`;
  const { node, core, ...stores } = await loadClient();
  const connection = await connect({ node, core }, url, others, name);
  return await openConnected(stores, connection, { name, makes: true, onWarning });
}

type Packages = Awaited<ReturnType<typeof loadClient>>;

async function loadClient() {
  try {
    const [node, core, stores] = await Promise.all([import("@nats-io/transport-node"), import("@nats-io/nats-core"), loadStores()]);
    return { node, core, ...stores };
  } catch (error) {
    throw new CogwheelError(
      "jobs",
      `a queue on a NATS server needs its client, got ${(error as Error).message.split("\n")[0]!}; ` +
        "run `npm i @nats-io/transport-node @nats-io/nats-core @nats-io/jetstream @nats-io/kv`",
      { cause: error },
    );
  }
}

async function connect(
  { node, core }: Pick<Packages, "node" | "core">,
  url: URL,
  others: readonly URL[],
  name: string,
): Promise<NatsConnection> {
  const [user, pass] = [decodeURIComponent(url.username), decodeURIComponent(url.password)];
  const credentials = process.env["COGWHEEL_NATS_CREDS"];
  const overWeb = /^ws/.test(url.protocol);
  if (overWeb && typeof WebSocket === "undefined")
    throw new CogwheelError(
      "jobs",
      `an address with ws:// needs Node 22 or newer, got Node ${process.versions.node}; use nats:// or tls://`,
    );
  const options: ConnectionOptions = {
    servers: [url, ...others].map(({ host }) => (overWeb ? `${url.protocol}//${host}` : host)),
    name: "cogwheel",
    timeout: WAIT_MS,
    maxReconnectAttempts: -1,
    ...(pass ? { user, pass } : user ? { token: user } : {}),
    ...(credentials ? { authenticator: core.credsAuthenticator(new Uint8Array(await readFile(credentials))) } : {}),
    ...(url.protocol === "tls:" ? { tls: {} } : {}),
  };
  try {
    return await (overWeb ? core.wsconnect(options) : node.connect(options));
  } catch (error) {
    throw new CogwheelError(
      "jobs",
      `a NATS server must answer at ${name}, got ${(error as Error).message}; start it, or check the address`,
      {
        cause: error,
      },
    );
  }
}
