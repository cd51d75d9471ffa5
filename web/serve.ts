/** `npm run web [-- --port N --isolate]`: the playground on a loopback port. */
import { join } from "node:path";
import { Command } from "commander";
import { packageRoot } from "../src/cli/package-root.ts";
import { siteHeaders } from "./headers.ts";
import { serveFolder } from "./server.ts";

const { port, isolate } = new Command("web")
  .description("serve the playground to browsers on this machine")
  .option("--port <n>", "port to listen on", (text) => Number(text), 8137)
  .option("--isolate", "isolate the page from other origins (COOP and COEP)")
  .parse()
  .opts<{ port: number; isolate?: boolean }>();

try {
  const site = join(packageRoot, "dist", "web");
  const server = await serveFolder(site, {}, { port, compress: true, headers: await siteHeaders(site, { isolate: isolate ?? false }) });
  console.log(`${server.url}\nCtrl-C stops it.`);
} catch (error) {
  const { message } = error as Error;
  console.error(
    message.startsWith("[web]") ? message : `[web] a port must be free to listen on, got ${message}; name another one with --port`,
  );
  process.exitCode = 1;
}
