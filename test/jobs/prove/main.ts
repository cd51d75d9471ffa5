/**
 * `npm run jobs:prove`: 200 jobs, four workers each killed -9 ten times, the server and nats-server five times each; then jobs on a cluster
 * of three whose leader is killed; then 50 jobs by one worker and by two. Prints what it cost, and ends with 1 where something is not as
 * it must be.
 *
 *   npm run jobs:prove -- --jobs 12 --workers 2 --kills 2 --server-kills 1 --cluster-jobs 6 --speed-jobs 10
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { natsServer, startCluster, startNats } from "../../support/nats-server.ts";
import { killLeader } from "./leader.ts";
import { prove } from "./prove.ts";
import { speed } from "./speed.ts";

const number = (value: string): { type: "string"; default: string } => ({ type: "string", default: value });
const { values } = parseArgs({
  options: {
    jobs: number("200"),
    workers: number("4"),
    kills: number("10"),
    "server-kills": number("5"),
    "cluster-jobs": number("40"),
    "cluster-kills": number("3"),
    "speed-jobs": number("50"),
  },
});
/** Two workers, of a thread each, do at least so many times as much as one. */
const FASTER = 1.8;
const path = await natsServer();
if (path instanceof Error) throw path;
const folder = await mkdtemp(join(tmpdir(), "cogwheel-prove-"));
const say = (line: string): void => console.log(line);
const { jobs, workers, kills, "server-kills": serverKills, "cluster-jobs": more, "cluster-kills": leaders } = values;
try {
  const sizes = { jobs: Number(jobs), workers: Number(workers), kills: Number(kills), serverKills: Number(serverKills) };
  const told: string[] = [];
  const tell = ({ problems, words }: Awaited<ReturnType<typeof prove>>): void => {
    say(words);
    told.push(...problems);
  };
  if (sizes.jobs > 0) {
    await using server = await startNats(path, join(folder, "one"));
    tell(await prove(sizes, server.url, () => server.restart(Math.random() * 2000), say));
  }
  if (Number(more) > 0) {
    await using cluster = await startCluster(path, join(folder, "cluster"));
    const restart = (): Promise<void> => killLeader(cluster, say);
    say("On a cluster of three, whose leader is killed in place of the server:");
    tell(
      await prove(
        { ...sizes, jobs: Number(more), kills: Math.min(2, sizes.kills), serverKills: Number(leaders) },
        cluster.url,
        restart,
        say,
      ),
    );
  }
  if (Number(values["speed-jobs"]) > 0) {
    const { factor, words } = await speed(Number(values["speed-jobs"]), folder);
    say(words);
    if (factor < FASTER) told.push(`two workers must do ${FASTER} times as much as one, got ${factor.toFixed(2)}; run it on idle cores`);
  }
  for (const problem of told) say(problem);
  process.exitCode = told.length ? 1 : 0;
} finally {
  await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
}
