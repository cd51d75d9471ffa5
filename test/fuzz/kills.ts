/**
 * Runs that are killed (SIGKILL) while they write over the result of an earlier one: at random moments, most of them near the end where
 * files are written, and before chosen calls that change a file. Afterwards the earlier result or the new one must be there, whole, and
 * the next run must succeed and leave nothing else. `read` counts those.
 */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { tuningFile } from "../../src/gpu/tuning-table.ts";
import { runKilled, stateOf, type Killed } from "../support/kill.ts";
import { inputs, type FuzzKind } from "./kind.ts";

interface Target {
  readonly name: string;
  /** What is written, within the folder of a trial. */
  readonly paths: readonly string[];
  /** The command, in that folder, for the earlier result and for the new one. */
  args(which: "old" | "fresh"): readonly string[];
  readonly env?: (folder: string) => Record<string, string>;
}

const LAUNCHER = resolve("dist/launch.js");
/** Small, and of another length, so that what is left over of the old one would show. */
const generate = (which: "old" | "fresh", ...more: string[]): string[] => [
  LAUNCHER,
  "generate",
  "a red circle",
  "--size",
  "32x32",
  "--steps",
  "1",
  ...(which === "old" ? ["--frames", "17", "--seed", "1"] : ["--frames", "9", "--seed", "2"]),
  ...more,
];

const TUNING_FILE = tuningFile({
  format: 1,
  adapter: { vendor: "v", architecture: "a", device: "d" },
  driver: "",
  capabilities: "00000000",
  kernels: "k",
});

const TARGETS: readonly Target[] = [
  { name: "mp4", paths: ["film.mp4"], args: (which) => generate(which, "--out", "film.mp4") },
  { name: "folder of PNG", paths: ["frames"], args: (which) => generate(which, "--out", "frames/") },
  { name: "gif", paths: ["film.gif"], args: (which) => generate(which, "--out", "film.gif") },
  {
    name: "latents beside webm",
    paths: ["film.webm", "l.safetensors"],
    args: (which) => generate(which, "--out", "film.webm", "--save-latents", "l.safetensors"),
  },
  // What `tune` does when it has measured: the report, and the table among the user's caches.
  {
    name: "tune",
    paths: ["report.json", `cache/cogwheel/tuning/${TUNING_FILE}`],
    args: (which) => [resolve("dist/test/kills-tune.js"), which],
    env: (folder) => ({ XDG_CACHE_HOME: join(folder, "cache") }),
  },
];

/** One of so many is killed before a chosen call, the others at a random moment. */
const CHOSEN = 6;

export const kills: FuzzKind = {
  about: "runs killed while they write over an earlier result",
  count: 120,
  async run({ log, ...options }, tally) {
    const place = realpathSync(mkdtempSync(join(tmpdir(), "cogwheel-kills-")));
    const node: Record<string, string> = options.adapter ? { COGWHEEL_ADAPTER: options.adapter } : {};
    try {
      const prepared = new Map<string, { ms: number; calls: number; old: string; fresh: string; at: string }>();
      const prepare = async (target: Target) => {
        const known = prepared.get(target.name);
        if (known) return known;
        const at = join(place, target.name.replaceAll(" ", "-"));
        const states: string[] = [];
        let last: Killed | undefined;
        for (const which of ["old", "fresh"] as const) {
          const folder = join(at, which);
          mkdirSync(folder, { recursive: true });
          if (which === "fresh") cpSync(join(at, "old"), folder, { recursive: true });
          last = await runKilled(target.args(which), { cwd: folder, env: { ...node, ...target.env?.(folder) } });
          if (last.code !== 0)
            throw new Error(`${target.name} must succeed when nothing kills it, got exit code ${last.code}: ${last.text.slice(-500)}`);
          states.push(...target.paths.map((path) => stateOf(join(folder, path))));
        }
        // How many calls change a file: one of them ends a run in the middle.
        const folder = mkdtempSync(join(at, "count-"));
        cpSync(join(at, "old"), folder, { recursive: true });
        const count = join(at, "calls");
        await runKilled(target.args("fresh"), {
          cwd: folder,
          env: { ...node, ...target.env?.(folder), KILL_COUNT: count },
          at: { call: 0, folder },
        });
        const calls = Number(readFileSync(count, "utf8").trim().split("\n").at(-1));
        const made = {
          ms: last!.ms,
          calls,
          old: states.slice(0, target.paths.length).join(),
          fresh: states.slice(target.paths.length).join(),
          at,
        };
        prepared.set(target.name, made);
        return made;
      };
      for (const { index, seed, draw } of inputs(options)) {
        const target = TARGETS[index % TARGETS.length]!;
        const { ms, calls, old, fresh, at } = await prepare(target);
        const folder = mkdtempSync(join(at, "kill-"));
        cpSync(join(at, "old"), folder, { recursive: true });
        const chosen = index % CHOSEN === CHOSEN - 1;
        const when = chosen
          ? { at: { call: 1 + Math.floor(draw() * calls), folder } }
          : { after: Math.round(ms * (draw() < 0.3 ? draw() : 0.75 + 0.3 * draw())) };
        const env = { ...node, ...target.env?.(folder) };
        const input =
          `seed ${options.seed}, index ${index} (${seed}): ${target.name}, ` +
          `killed ${"after" in when ? `after ${when.after} of ${Math.round(ms)} ms` : `before call ${when.at.call}`}`;
        const run = await runKilled(target.args("fresh"), { cwd: folder, env, ...when });
        const state = target.paths.map((path) => stateOf(join(folder, path)));
        // Each result is by itself: of several the first may be new and the others not yet.
        const [olds, freshes] = [old.split(","), fresh.split(",")];
        const wrong = state.flatMap((one, i) =>
          one === olds[i] || one === freshes[i] || (one === "" && movedAside(folder, target.paths[i]!, olds[i]!)) ? [] : [target.paths[i]!],
        );
        const next = await runKilled(target.args("fresh"), { cwd: folder, env });
        const after = target.paths.map((path) => stateOf(join(folder, path))).join();
        const rest = readdirSync(folder, { recursive: true })
          .map(String)
          .filter((name) => /\.(part|old|new|tmp)$/.test(name));
        if (wrong.length) tally.add("silent wrong", input, `neither the old nor the new ${wrong.join(", ")}`);
        else if (run.signal !== "SIGKILL" && run.code !== 0) tally.add("foreign error", input, run.text.slice(-800));
        else if (next.signal) tally.add("hang", input, `the next run: ${next.text.slice(-800)}`);
        else if (next.code !== 0) tally.add("death", input, `the next run ended with ${next.code}: ${next.text.slice(-800)}`);
        else if (after !== fresh) tally.add("silent wrong", input, "the next run's result is not what it is without a kill");
        else if (rest.length) tally.add("silent wrong", input, `left after the next run: ${rest.join(", ")}`);
        else tally.add("read", input);
        rmSync(folder, { recursive: true, force: true });
        if ((index + 1) % 20 === 0) log(`${index + 1} runs`);
      }
    } finally {
      rmSync(place, { recursive: true, force: true });
    }
  },
};

/** Between two renames a folder lies, whole, where the next run takes it from. */
function movedAside(folder: string, path: string, old: string): boolean {
  return readdirSync(folder).some(
    (name) => name.startsWith(`.${basename(path)}.`) && name.endsWith(".old") && stateOf(join(folder, name)) === old,
  );
}
