/** A queue by its address. */
import type { JobBackend } from "./backend.ts";

/** A folder of this machine; with `nats://`, `tls://`, `ws://` or `wss://` in front a NATS server, whose client is loaded only then. */
export async function openJobs(address: string, onWarning?: (message: string) => void): Promise<JobBackend> {
  if (/^(nats|tls|wss?):\/\//i.test(address)) {
    const { openNats } = await import("./nats-node.ts");
    return await openNats(address, onWarning);
  }
  const { openEmbedded } = await import("./embedded-node.ts");
  return await openEmbedded(address);
}
