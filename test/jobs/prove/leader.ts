/** The leader of a cluster's queue. */
import { connect } from "@nats-io/transport-node";
import { jetstreamManager } from "@nats-io/jetstream";
import { pause } from "../../../src/base/pause.ts";
import type { NatsCluster } from "../../support/nats-server.ts";

/** Kills the server that leads the values' stream, and starts it again once another leads. */
export async function killLeader({ servers }: NatsCluster, say: (line: string) => void = () => undefined): Promise<void> {
  const hosts = [...servers.values()].map(({ url }) => url.slice("nats://".length));
  const connection = await connect({ servers: hosts, maxReconnectAttempts: -1 });
  try {
    const leader = async (): Promise<string | undefined> => {
      const jsm = await jetstreamManager(connection, { checkAPI: false, timeout: 2000 });
      return (await jsm.streams.info("KV_cogwheel_jobs")).cluster?.leader;
    };
    const first = await leader();
    if (first === undefined) throw new Error("a cluster's stream must have a leader");
    const began = performance.now();
    await servers.get(first)!.kill();
    let next: string | undefined;
    while (next === undefined || next === first) {
      await pause(200);
      next = await leader().catch(() => undefined);
    }
    say(`${first} led and was killed; ${next} led after ${((performance.now() - began) / 1000).toFixed(1)} s`);
    await servers.get(first)!.restart();
  } finally {
    await connection.close();
  }
}
