/**
 * A process that is killed anywhere while it writes: the result of before or the new one is
 * there, whole, and the next run succeeds and cleans.
 */
import { mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { listFolder, openOutput } from "#platform";
import { leftovers, temporaryName } from "../../src/platform/leftovers-node.ts";
import { runKilled, stateOf } from "../support/kill.ts";

let place: string;
let script: string;
beforeAll(async () => {
  place = realpathSync(mkdtempSync(join(tmpdir(), "cogwheel-kills-")));
  script = join(place, "write.mjs");
  writeFileSync(
    join(place, "write.ts"),
    `import ${JSON.stringify(resolve("src/base/dispose.ts"))};
    import { openOutput } from ${JSON.stringify(resolve("src/platform/output-node.ts"))};
    const [path, count, level] = process.argv.slice(2);
    const folder = path.endsWith("/");
    const output = await openOutput(path, folder ? "folder" : "file");
    const frame = new Uint8Array(200).fill(Number(level));
    for (let i = 1; i <= Number(count); i++) await output.write(frame, folder ? \`frame-000\${i}.png\` : undefined);
    await output.commit();
    await output[Symbol.asyncDispose]();`,
  );
  await build({
    entryPoints: [join(place, "write.ts")],
    outfile: script,
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    logLevel: "warning",
  });
});
afterAll(() => rmSync(place, { recursive: true, force: true }));

/** What the script does, in this process: writes so many pictures of a level. */
async function write(path: string, count: number, level: number): Promise<string> {
  const folder = path.endsWith("/");
  await using output = await openOutput(path, folder ? "folder" : "file");
  for (let i = 1; i <= count; i++) await output.write(new Uint8Array(200).fill(level), folder ? `frame-000${i}.png` : undefined);
  await output.commit();
  return output.path;
}

/** The state that a whole result of so many frames has, by itself. */
async function whole(name: string, count: number, level: number): Promise<string> {
  const apart = mkdtempSync(join(place, "whole-"));
  return stateOf(await write(join(apart, name), count, level));
}

describe.each([
  { what: "a folder over an old one", name: "frames/", old: 3, fresh: 2, within: false, atLeast: 10 },
  { what: "a folder that cannot be moved, since the process is in it", name: "frames/", old: 3, fresh: 2, within: true, atLeast: 12 },
  { what: "a folder where none was", name: "frames/", old: 0, fresh: 2, within: false, atLeast: 7 },
  { what: "a file over an old one", name: "picture.png", old: 1, fresh: 1, within: false, atLeast: 4 },
])("$what", ({ name, old, fresh, within, atLeast }) => {
  it("at every change of a file", async () => {
    const wanted = { old: old ? await whole(name, old, 10) : "", fresh: await whole(name, fresh, 200), next: await whole(name, 1, 90) };
    let call = 1;
    for (; ; call++) {
      const folder = mkdtempSync(join(place, "kill-"));
      const path = join(folder, name);
      if (old) await write(path, old, 10);
      const run = await runKilled([script, path, String(fresh), "200"], { at: { call, folder }, ...(within ? { cwd: path } : {}) });
      const at = `killed before call ${call}`;
      if (run.signal !== "SIGKILL") {
        expect(run.code, run.text).toBe(0);
        expect(stateOf(path)).toBe(wanted.fresh);
        break;
      }
      // Whoever reads finds a whole one; of a folder that was moved aside, what is to be there is put there.
      if (name.endsWith("/")) await listFolder(path);
      const left = name.endsWith("/") ? stateOf(path).replace(await withLeftovers(path), wanted.old) : stateOf(path);
      expect([wanted.old, wanted.fresh], at).toContain(left);
      await write(path, 1, 90);
      expect(stateOf(path), `the run after the one ${at}`).toBe(wanted.next);
      expect(readdirSync(folder), `what the one ${at} left`).toEqual([name.replace("/", "")]);
    }
    expect(call, "calls that were tried").toBeGreaterThan(atLeast);
  });
});

/** Within a folder that cannot be moved, an unfinished `.part` may lie beside the old frames. */
async function withLeftovers(path: string): Promise<string> {
  const names = await listFolder(path);
  return names?.some((one) => one.endsWith(".part")) && names.filter((one) => !one.endsWith(".part")).length === 3 ? stateOf(path) : "none";
}

it("of runs that write to one place at once each succeeds, and one of them is there, whole", async () => {
  const folder = mkdtempSync(join(place, "many-"));
  const levels = [1, 2, 3, 4, 5, 6];
  const wanted = await Promise.all(levels.map((level) => whole("frames/", (level % 3) + 1, level)));
  for (let round = 0; round < 3; round++) {
    await Promise.all(levels.map((level) => write(join(folder, "frames/"), (level % 3) + 1, level)));
    expect(wanted).toContain(stateOf(join(folder, "frames")));
    expect(readdirSync(folder)).toEqual(["frames"]);
  }
});

it("what somebody else put into a folder of pictures while it was made is kept", async () => {
  const folder = mkdtempSync(join(place, "kept-"));
  const path = join(folder, "frames/");
  await write(path, 2, 1);
  const output = await openOutput(path, "folder");
  await output.write(new Uint8Array(1), "frame-0001.png");
  writeFileSync(join(path, "notes.txt"), "mine");
  await output.commit();
  await output[Symbol.asyncDispose]();
  expect(readdirSync(path).sort()).toEqual(["frame-0001.png", "notes.txt"]);
});

it("what processes of other machines, and those at work, have there is left alone", async () => {
  const folder = mkdtempSync(join(place, "others-"));
  mkdirSync(join(folder, "frames"));
  const alive = `.x.png.${process.pid}-00000000-1-00000000.part`;
  const foreign = ".x.png.1-ffffffff-1-00000000.part";
  const unlike = ".x.png.part";
  for (const one of [alive, foreign, unlike]) writeFileSync(join(folder, one), "");
  for (const one of [".frames.4194304-abc123.part", alive]) mkdirSync(join(folder, "frames", one));
  await write(join(folder, "frames/"), 2, 1);
  expect(readdirSync(folder).sort()).toEqual([foreign, alive, unlike, "frames"].sort());
  expect(readdirSync(join(folder, "frames"))).toEqual(["frame-0001.png", "frame-0002.png"]);
});

/** A temporary name of a process that is gone. */
const left = (path: string, ending: "old" | "part"): string => temporaryName(path, ending).replace(`.${process.pid}-`, ".4194304-");

it("paths that differ behind a long beginning do not take each other's leftovers", async () => {
  const folder = mkdtempSync(join(place, "long-"));
  const [one, other] = ["a", "b"].map((end) => join(folder, "ü".repeat(90) + end)) as [string, string];
  const kept = left(other, "old");
  expect(Buffer.byteLength(kept)).toBeLessThan(256);
  mkdirSync(join(folder, kept));
  writeFileSync(join(folder, kept, "frame-0001.png"), "the only one");
  expect(await leftovers(folder, "old", other)).toEqual([kept]);
  expect(await leftovers(folder, "old", one)).toEqual([]);
  await write(`${one}/`, 1, 1);
  await listFolder(one);
  expect(readdirSync(join(folder, kept))).toEqual(["frame-0001.png"]);
  expect(await listFolder(other)).toEqual(["frame-0001.png"]);
});

it("what lies beside a file that is read is left alone", async () => {
  const folder = mkdtempSync(join(place, "beside-"));
  const film = join(folder, "film.mp4");
  writeFileSync(film, "");
  mkdirSync(join(folder, left(film, "old")));
  const before = readdirSync(folder);
  expect(await listFolder(film)).toBeUndefined();
  expect(readdirSync(folder)).toEqual(before);
});
