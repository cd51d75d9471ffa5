/** Jobs on a NATS server (nats.ts), as a page connects to it: over a WebSocket, with the rights of who only works (docs/scale-out.md). */
import { CogwheelError } from "../base/errors.ts";
import type { JobBackend } from "./backend.ts";
import { exportsOf, loadStores, openConnected, WAIT_MS } from "./nats.ts";

export interface PageConnection {
  /** `ws://host:port` or `wss://host:port`. */
  readonly address: string;
  readonly user?: string;
  readonly password?: string;
}

/** Makes no streams: some worker in Node has made them. */
export async function openNatsInPage({ address, user, password }: PageConnection): Promise<JobBackend> {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (!url || !/^wss?:$/.test(url.protocol))
    throw new CogwheelError(
      "jobs",
      `a page reaches a NATS server by ws:// or wss://, got ${JSON.stringify(address)}; give the address of its websocket listener`,
    );
  const name = `${url.protocol}//${url.host}`;
  const [core, stores] = await Promise.all([import("@nats-io/nats-core"), loadStores()]);
  const { wsconnect } = exportsOf(core);
  const login = user === undefined ? {} : { user, pass: password ?? "" };
  const connection = await wsconnect({ servers: name, name: "cogwheel tab", timeout: WAIT_MS, maxReconnectAttempts: -1, ...login }).catch(
    (error: Error) => {
      throw new CogwheelError(
        "jobs",
        `a NATS server must answer at ${name}, got ${error.message}; start it with a websocket listener, or check address and password`,
        { cause: error },
      );
    },
  );
  return await openConnected(stores, connection, { name, makes: false, onWarning: () => undefined });
}
