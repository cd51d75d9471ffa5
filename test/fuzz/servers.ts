/**
 * Servers that lie, drip, break, redirect, fall silent or never end, at some point of opening a checkpoint and reading all of it: by plain
 * ranges, from the hub by ranges, and by the hub's download, each in a process of its own that nothing else keeps alive. It must end in
 * words or with the true bytes, in time and in little memory; and a download after it, from an honest hub into the same cache, must be
 * whole.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { attack, ATTACKS, type Attack } from "../support/hostile-server.ts";
import { COMMIT, ID, NEEDED } from "../support/hub-checkpoint.ts";
import { HubServer } from "../support/hub-server.ts";
import { inputs, isRefusalText, type FuzzKind, type Tally } from "./kind.ts";

/** Far above what the slowest takes on a busy machine. */
const SECONDS = 90;
/** A process that has read all of this checkpoint has some 150 MB. */
const MEGABYTES = 500;
const DOORS = ["ranges", "hub", "download"] as const;

/** What a process of its own is told: it opens, reads all, and says the hash, or the error and whether it is ours. */
const READER = `
const [from, hub, files] = JSON.parse(process.argv[1]);
const [library, more] = [await import(process.argv[2]), await import(process.argv[3])];
const { httpSource, openSource, openCheckpoint, CogwheelError } = { ...library, ...more };
const { createHash } = await import("node:crypto");
try {
  const checkpoint = await openCheckpoint(hub ? await openSource(from, { hub }) : httpSource(from, { stallSeconds: 0.4 }));
  const hash = createHash("sha256");
  for (const path of files) hash.update(await checkpoint.source.read(path, 0, await checkpoint.source.size(path)));
  console.log(JSON.stringify({ hash: hash.digest("hex") }));
  await checkpoint[Symbol.asyncDispose]();
} catch (error) {
  const ours = error instanceof CogwheelError;
  console.log(JSON.stringify({ message: ours ? error.message : undefined, foreign: ours ? undefined : String(error?.stack ?? error) }));
}`;
const PATHS = Object.keys(NEEDED);
const TRUTH = PATHS.reduce((hash, path) => hash.update(NEEDED[path]!), createHash("sha256")).digest("hex");

/** Whose whole answer is another file's content, well-formed as HTTP: where no hash is known, that is what the server has. */
const OTHER_CONTENT: ReadonlySet<string> = new Set([
  "sends garbage",
  "sends garbage for a range",
  "sends nothing",
  "tells a huge size",
  "packs garbage",
  "packs a bomb in a file",
  "sends JSON of another kind",
  "sends JSON that goes deep",
  "tells a commit that is a path",
  "has one page after the other",
  "has one page again and again",
]);

interface Ending {
  hash?: string;
  message?: string;
  foreign?: string;
  /** How it died, where it said nothing. */
  death?: string;
  hang?: boolean;
}

/** Reads in a process of its own, which is ended when it takes too long or too much. */
async function read(from: string, hub: object | null): Promise<Ending> {
  const modules = ["node.js", "node-graph.js"].map((file) => resolve("dist", file));
  const child = spawn(process.execPath, ["--input-type=module", "-e", READER, JSON.stringify([from, hub, PATHS]), ...modules]);
  let out = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data: Buffer) => (out += data.toString()));
  let ended: Ending | undefined;
  const begun = performance.now();
  const watch = setInterval(
    () =>
      void (async () => {
        if (performance.now() - begun > 1000 * SECONDS) ended ??= { hang: true };
        // Where the system has no such file, time alone is watched.
        const resident =
          Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${child.pid}/status`, "utf8").catch(() => ""))?.[1] ?? 0) / 1000;
        if (resident > MEGABYTES) ended ??= { death: `${resident.toFixed(0)} MB resident` };
        if (ended) child.kill("SIGKILL");
      })(),
    100,
  );
  const code = await new Promise<number | null>((done) => child.once("close", done));
  clearInterval(watch);
  if (ended) return ended;
  try {
    const said = JSON.parse(out.trim()) as Ending;
    return code === 0 ? said : { death: `exit code ${code} after ${out.trim()}` };
  } catch {
    return { death: `exit code ${code}, which said ${JSON.stringify(out.slice(0, 500))}` };
  }
}

function count(tally: Tally, ending: Ending, input: string, mayBeOther: boolean): void {
  if (ending.hang) tally.add("hang", input, `no end after ${SECONDS} s`);
  else if (ending.death !== undefined) tally.add("death", input, ending.death);
  else if (ending.foreign !== undefined) tally.add("foreign error", input, ending.foreign);
  else if (ending.message !== undefined) {
    if (isRefusalText(ending.message)) {
      tally.rule(ending.message.replaceAll(/127\.0\.0\.1:\d+/g, "HOST"));
      tally.add("refused", input);
    } else tally.add("foreign error", input, ending.message);
  } else if (ending.hash === TRUTH || mayBeOther) tally.add("read", input);
  else tally.add("silent wrong", input, "other bytes than the checkpoint's");
}

export const servers: FuzzKind = {
  about: "servers that lie, drip, fall silent or never end, against every way to read a checkpoint over the network",
  count: 400,
  async run(options, tally) {
    const home = await mkdtemp(join(tmpdir(), "cogwheel-fuzz-servers-"));
    const queue = inputs(options);
    const names = Object.keys(ATTACKS);
    const work = async (): Promise<void> => {
      for (const { index, draw } of queue) {
        const pick = <T>(list: readonly T[]): T => list[Math.floor(draw() * list.length)]!;
        const [door, name, second] = [pick(DOORS), pick(names), pick(names)];
        const [from, length] = [Math.floor(draw() * 24), draw() < 0.6 ? Infinity : 1 + Math.floor(draw() * 3)];
        const [at, two] = [pick(["both", "hub", "store"] as const), draw() < 0.3];
        const input =
          `seed ${options.seed}, index ${index}: ${door}, ${at}: ` +
          `${name}${two ? `, or ${second}` : ""}, from answer ${from} on for ${length}`;
        await using server = await HubServer.start();
        server.repos[ID] = { revisions: { main: { commit: COMMIT, files: NEEDED } } };
        let asked = 0;
        let hostile = true;
        const choose = (where: "hub" | "store") => (): Attack | undefined => {
          if (!hostile || (at !== "both" && at !== where)) return undefined;
          const n = asked++;
          return n >= from && n < from + length ? ATTACKS[two && n % 2 ? second : name] : undefined;
        };
        attack(server.hub, choose("hub"));
        attack(server.store, choose("store"));
        const hub =
          door === "ranges"
            ? null
            : { endpoint: server.url, token: null, stallSeconds: 0.4, cache: join(home, String(index)), download: door === "download" };
        const address = door === "ranges" ? `${server.url}/${ID}/resolve/main/` : ID;
        count(
          tally,
          await read(address, hub),
          input,
          door !== "download" && (OTHER_CONTENT.has(name) || (two && OTHER_CONTENT.has(second))),
        );
        if (door !== "download") continue;
        hostile = false;
        // An honest hub is given its time: a busy machine may be slower than the stall that is told above.
        const again = await read(address, { ...hub, stallSeconds: 30 });
        if (again.hash !== TRUTH) tally.add("silent wrong", `${input}; then from an honest hub into the same cache`, JSON.stringify(again));
        await rm(join(home, String(index)), { recursive: true, force: true });
      }
    };
    try {
      await Promise.all(Array.from({ length: 6 }, work));
    } finally {
      await rm(home, { recursive: true, force: true });
    }
  },
};
