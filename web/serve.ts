/** `npm run web [-- --port N --isolate]`: the playground on a loopback port. */
import { join } from "node:path";
import { Command } from "commander";
import { packageRoot } from "../src/cli/package-root.ts";
import { serveFolder } from "./server.ts";

const { port, isolate } = new Command("web")
  .description("serve the playground to browsers on this machine")
  .option("--port <n>", "port to listen on", (text) => Number(text), 8137)
  .option("--isolate", "isolate the page from other origins (COOP and COEP)")
  .parse()
  .opts<{ port: number; isolate?: boolean }>();

const headers: Record<string, string> = isolate ? { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" } : {};
try {
  const server = await serveFolder(join(packageRoot, "dist", "web"), {}, { port, headers });
  console.log(`${server.url}\nCtrl-C stops it.`);
} catch (error) {
  console.error(`[web] a port must be free to listen on, got ${(error as Error).message}; name another one with --port`);
  process.exitCode = 1;
}
