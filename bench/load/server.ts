/** A process that serves a folder on loopback, tells its address, and ends with its standard input. */
import { serveFolder } from "../../web/server.ts";

const page = '<!doctype html><html lang="en"><title>load</title><link rel="icon" href="data:,"></html>';
await using server = await serveFolder(process.argv[2]!, { "index.html": page });
console.log(server.url);
process.stdin.resume();
await new Promise<void>((ended) => process.stdin.on("end", ended));
process.exit();
