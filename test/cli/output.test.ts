/**
 * Where a command's results and lines go when there is no place for them: a full disk, a
 * closed pipe or terminal, links, its own inputs.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, linkSync, lstatSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { writeSafetensors } from "../../src/files/safetensors.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { outputPaths } from "../../src/cli/output-paths.ts";
import { writeLatents } from "../../src/pipelines/latents-file.ts";
import { readLatents } from "../../src/pipelines/read-latents.ts";
import { commentIn } from "../../src/video/comment.ts";
import { testGpu } from "../support/gpu.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";
import { watched, type Ended, type Watch } from "../support/watched.ts";

const launcher = resolve(import.meta.dirname, "../../dist/launch.js");
const PROMPT = "a red circle moving left";
let model: string;
let place: string;
let folder: string;
let latents: Uint8Array;

beforeAll(async () => {
  const built = spawnSync(process.execPath, ["build.mjs", "--if-stale"], { encoding: "utf8" });
  expect(built.status, built.stderr).toBe(0);
  model = await tinyCheckpoint();
  place = await mkdtemp(join(tmpdir(), "cogwheel-output-"));
  await using opened = await CogVideoX.open(model, { gpu: await testGpu(), dtype: "f32" });
  const { state, settings } = await opened.generate({ prompt: PROMPT, seed: 7, frames: 9 });
  latents = writeLatents({ state, shape: [1, 3, 4, 2, 4], settings });
});
afterAll(async () => {
  await rm(place, { recursive: true, force: true });
  await removeTinyCheckpoints();
});
beforeEach(async () => {
  folder = await mkdtemp(join(place, "run-"));
  writeFileSync(join(folder, "done.safetensors"), latents);
});

/** Runs the command in a shell of its own, which may limit it or lead its output elsewhere; `{}` stands for the command. */
async function shell(line: string, args: readonly string[], watch?: Watch): Promise<Ended> {
  const quoted = ["exec", process.execPath, launcher, ...args]
    .map((word, i) => (i === 0 ? word : `'${word.replaceAll("'", `'\\''`)}'`))
    .join(" ");
  const child = spawn("bash", ["-c", line.replace("{}", () => (/\|/.test(line) ? quoted.replace(/^exec /, "") : quoted))], {
    cwd: folder,
    env: { ...process.env, NO_COLOR: undefined, FORCE_COLOR: undefined },
  });
  const ended = await watched(child, watch);
  return { ...ended, err: ended.err.replace(/^Warning: .*\n/gm, "") };
}
const decode = (...args: string[]): string[] => ["generate", "--model", model, "--latents", "done.safetensors", ...args];
const files = (): string[] =>
  readdirSync(folder, { recursive: true })
    .map(String)
    .filter((name) => name !== "done.safetensors")
    .sort();

describe.skipIf(process.platform === "win32")("a disk that takes no more", () => {
  /** Of the folder's files so many bytes fit; what is there already counts. */
  const small = (bytes: number): string =>
    `export FULL_IN="$PWD" FULL_BYTES=${latents.length + bytes} NODE_OPTIONS='--import ${resolve("test/support/full-disk.mjs")}'; {}`;
  const words = (path: string, option: string): RegExp =>
    new RegExp(
      `^\\[output\\] (?:\\S+/)?${path}/? must be a place that can be written, got ENOSPC: ` +
        `no space left on the disk; make room, or choose another with ${option}\\.$`,
      "m",
    );

  it("keeps the video where the latents find no room, and names their option", async () => {
    // The prompt is kept with the latents alone, which makes them the larger file.
    const { code, out, err } = await shell(small(2000), [
      "generate",
      "--model",
      model,
      "--seed",
      "7",
      "--steps",
      "1",
      "--frames",
      "1",
      "--out",
      "one.png",
      "--save-latents",
      "l.safetensors",
      "--no-metadata",
      "x".repeat(4000),
    ]);
    expect(err).toMatch(words("l\\.safetensors", "--save-latents"));
    expect(err).not.toMatch(/^ +at |EFBIG|--out/m);
    expect(code).toBe(1);
    expect(out.trimEnd().split("\n").at(-1)).toBe(join(folder, "one.png"));
    expect(files()).toEqual(["one.png"]);
  });

  it.each(["film.mp4", "frames/"])("keeps the latents where the video finds no room: %s", async (name) => {
    const { code, out, err } = await shell(
      small(latents.length + 700),
      decode("--frames", "9", "--out", name, "--save-latents", "l.safetensors"),
    );
    expect(err).toMatch(words(name.replace(/\/$/, ""), "--out"));
    expect(err).not.toMatch(/^ +at |could not be kept/m);
    expect(code).toBe(1);
    expect(out).not.toContain(join(folder, name.replace("/", "")));
    expect(files()).toEqual(["l.safetensors"]);
    expect((await readLatents(readFileSync(join(folder, "l.safetensors")), "l")).state.step).toBe(4);
  });

  it("says of each result that it could not be written, and leaves nothing but what was there", async () => {
    mkdirSync(join(folder, "frames"));
    writeFileSync(join(folder, "frames/frame-0001.png"), "old");
    const { code, err } = await shell(small(100), decode("--out", "frames/", "--save-latents", "l.safetensors", "--profile", "t.json"));
    for (const wanted of [words("l\\.safetensors", "--save-latents"), words("frames", "--out"), words("t\\.json", "--profile")])
      expect(err).toMatch(wanted);
    expect(code).toBe(1);
    expect(files()).toEqual(["frames", "frames/frame-0001.png"]);
    expect(readFileSync(join(folder, "frames/frame-0001.png"), "utf8")).toBe("old");
  });

  it("the VAE's commands", async () => {
    const decoded = await shell(small(700), ["vae", "decode", "done.safetensors", "--model", model, "--out", "film.gif"]);
    expect(decoded.err).toMatch(words("film\\.gif", "--out"));
    mkdirSync(join(folder, "in"));
    const { encodePng } = await import("../../src/video/formats.ts");
    writeFileSync(join(folder, "in/frame-0001.png"), await encodePng({ width: 32, height: 16, data: new Uint8Array(1536) }));
    const encoded = await shell(small(300), ["vae", "encode", "in", "--model", model, "--out", "l.safetensors"]);
    expect(encoded.err).toMatch(words("l\\.safetensors", "--out"));
    expect([decoded.code, encoded.code, files()]).toEqual([1, 1, ["in", "in/frame-0001.png"]]);
  });

  it.skipIf(process.getuid?.() !== 0)("a folder of pictures half way, on a disk of 64 kB (needs root, to mount one)", async () => {
    const disk = join(folder, "disk");
    mkdirSync(disk);
    if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]).status !== 0)
      return void console.log("no tmpfs may be mounted here: the limits on files above stand for it");
    try {
      writeFileSync(join(disk, "fill"), new Uint8Array(40_000));
      const { code, err } = await shell("{}", decode("--frames", "9", "--out", "disk/frames/", "--save-latents", "disk/l.safetensors"));
      expect(err).toMatch(
        /^\[output\] \S+\/frames\/? must be a place that can be written, got ENOSPC: no space left on the disk; make room, or choose another with --out\.$/m,
      );
      expect(code).toBe(1);
      expect(readdirSync(disk).sort()).toEqual(["fill", "l.safetensors"]);
    } finally {
      spawnSync("umount", [disk]);
    }
  });
});

describe.skipIf(process.platform === "win32")("lines that nobody takes", () => {
  it("a run goes on when its pipe is closed, and writes its file", async () => {
    const { code } = await shell(`set -o pipefail; {} 2>&1 | head -1 >/dev/null`, decode("--out", "a.gif"));
    expect([code, files()]).toEqual([0, ["a.gif"]]);
  });

  it("a report ends quietly, as by SIGPIPE", async () => {
    const { code, err } = await shell(`{} | true; exit \${PIPESTATUS[0]}`, [
      "validate",
      resolve("test/reference/cases/T5Tokenizer/t5.safetensors"),
    ]);
    expect([code, err]).toEqual([141, ""]);
  });

  it("a full disk is told once; the video is kept, a report is lost", async () => {
    const made = await shell("{} >/dev/full", decode("--out", "a.gif"));
    expect(
      made.err.match(/^\[output\] standard output must take what is printed, got ENOSPC: no space left on the disk; .*$/gm)?.length,
    ).toBe(1);
    expect(made.err).not.toMatch(/^ +at /m);
    expect([made.code, files()]).toEqual([1, ["a.gif"]]);
    for (const args of [["validate", "--json", "done.safetensors"], ["adapters"], ["--help"]]) {
      const { code, err } = await shell("{} >/dev/full", args);
      expect(err, args[0]).toMatch(/^\[output\] standard output must take what is printed, got ENOSPC: [^\n]*\n$/);
      expect(code, args[0]).toBe(1);
    }
  });

  it("closed from the start, all three", async () => {
    expect((await shell("{} >&- 2>&- <&-", decode("--out", "a.gif"))).code).toBe(0);
    expect(files()).toEqual(["a.gif"]);
  });

  it("a closed terminal (SIGHUP, and nobody reads) keeps the latents, with code 129", async () => {
    const { code } = await shell(
      "{}",
      ["generate", "--model", model, "--seed", "7", "--steps", "1000", "--frames", "1", "--out", "a.png", PROMPT],
      (text, child) => {
        if (child.stdout!.destroyed || !/load transformer +\d/.test(text)) return;
        child.stdout!.destroy();
        child.stderr!.destroy();
        setTimeout(() => child.kill("SIGHUP"), 300);
      },
    );
    expect([code, files()]).toEqual([129, ["a.latents.safetensors"]]);
    expect((await readLatents(readFileSync(join(folder, "a.latents.safetensors")), "a")).settings).toMatchObject({
      prompt: PROMPT,
      steps: 1000,
    });
  });
});

describe.skipIf(process.platform !== "linux" || spawnSync("script", ["--version"]).status !== 0)(
  "a real terminal that is closed in the middle (needs `script` of bsdutils)",
  () => {
    it.each([
      // The shell is told of the hangup, and hands it on or not; it outlives it, to tell the exit code.
      ["stops the run, and keeps its latents", 1000, "& trap 'kill -HUP $!' HUP; wait; wait $!", "129\n", "a.latents.safetensors"],
      ["does not end a run that is not told", 300, "", "0\n", "a.png"],
    ])("%s", async (_, steps, after, code, made) => {
      const line = [
        process.execPath,
        launcher,
        "generate",
        "--model",
        model,
        "--seed",
        "7",
        "--steps",
        String(steps),
        "--frames",
        "1",
        "--out",
        "a.png",
        "circle",
      ].join(" ");
      const terminal = spawn("script", ["-qec", `trap '' HUP; ${line} ${after}; echo $? > code`, "/dev/null"], {
        cwd: folder,
        stdio: ["pipe", "pipe", "ignore"],
      });
      await new Promise<void>((begun) => {
        let text = "";
        terminal.stdout.on("data", (part: Buffer) => void (/denoise/.test((text += part)) && setTimeout(begun, 100)));
        terminal.on("close", () => begun());
      });
      terminal.kill("SIGKILL");
      for (let waited = 0; waited < 300 && !existsSync(join(folder, "code")); waited++)
        await new Promise((later) => setTimeout(later, 100));
      await new Promise((later) => setTimeout(later, 50));
      expect(readFileSync(join(folder, "code"), "utf8")).toBe(code);
      expect(files()).toEqual([made, "code"]);
    });
  },
);

describe.skipIf(process.platform === "win32")("links, and results that would take the place of something else", () => {
  it("a link that leads nowhere yet is followed, and stays", async () => {
    mkdirSync(join(folder, "far"));
    symlinkSync("far/film.gif", join(folder, "film.gif"));
    symlinkSync("far/made/l.safetensors", join(folder, "l.safetensors"));
    const { code, err } = await shell("{}", decode("--out", "film.gif", "--save-latents", "l.safetensors"));
    expect(code, err).toBe(0);
    expect([lstatSync(join(folder, "film.gif")).isSymbolicLink(), lstatSync(join(folder, "l.safetensors")).isSymbolicLink()]).toEqual([
      true,
      true,
    ]);
    expect(files()).toEqual(["far", "far/film.gif", "far/made", "far/made/l.safetensors", "film.gif", "l.safetensors"]);
  });

  it.each<[string, () => string[], RegExp]>([
    [
      "a circle of links",
      () => (symlinkSync("b.gif", join(folder, "a.gif")), symlinkSync("a.gif", join(folder, "b.gif")), decode("--out", "a.gif")),
      /^\[output\] \S*a\.gif must be a place that can be written, got ELOOP: links that lead in a circle; choose another with --out\.$/m,
    ],
    [
      "the video that it begins from",
      () => (writeFileSync(join(folder, "in.gif"), "GIF"), ["generate", "--model", model, "--video", "in.gif", "--out", "./in.gif", "x"]),
      /^\[output\] --out must not be what the result is made from, got \S+\/in\.gif, which --video reads; choose another place with --out\.$/m,
    ],
    [
      "the same by another name",
      () => (
        writeFileSync(join(folder, "in.gif"), "GIF"),
        linkSync(join(folder, "in.gif"), join(folder, "hard.gif")),
        ["generate", "--model", model, "--control", "in.gif", "--out", "hard.gif", "x"]
      ),
      /^\[output\] --out must not be what the result is made from, got \S+\/hard\.gif, which --control reads/m,
    ],
    [
      "a weight of the model",
      () => decode("--out", "a.gif", "--save-latents", join(model, "vae/diffusion_pytorch_model.safetensors")),
      /^\[output\] --save-latents must not be what the result is made from, got \S+, which belongs to --model /m,
    ],
    [
      "another result",
      () => decode("--out", "a.gif", "--save-latents", "b", "--profile", "./b"),
      /^\[output\] results must have places of their own, got \.\/b for --save-latents and --profile; /m,
    ],
    [
      "the video of vae encode",
      () => (writeFileSync(join(folder, "in.gif"), "GIF"), ["vae", "encode", "in.gif", "--model", model, "--out", "in.gif"]),
      /^\[output\] --out must not be what the result is made from, got in\.gif, which the command reads/m,
    ],
  ])("%s is refused", async (_, prepare, message) => {
    const args = prepare();
    const before = [files(), existsSync(join(folder, "in.gif")) && readFileSync(join(folder, "in.gif"), "utf8")];
    const { code, err } = await shell("{}", args);
    expect(err.replace(/^\[video\] .*\n/gm, "")).toMatch(message);
    expect(code).toBe(1);
    expect([files(), existsSync(join(folder, "in.gif")) && readFileSync(join(folder, "in.gif"), "utf8")]).toEqual(before);
  });

  it("a slash at the end names a folder, whatever its name ends in", async () => {
    writeFileSync(join(folder, "a.gif"), "GIF");
    const taken = await shell("{}", decode("--out", "a.gif/"));
    expect(taken.err).toMatch(/^\[output\] \S+\/a\.gif\/ must be a folder or not exist yet, got a file; /m);
    const made = await shell("{}", ["vae", "decode", "done.safetensors", "--model", model, "--out", "b.gif/"]);
    expect([taken.code, made.code, made.out.trimEnd().split("\n").at(-1)]).toEqual([1, 0, join(folder, "b.gif")]);
    expect(files().slice(0, 3)).toEqual(["a.gif", "b.gif", "b.gif/frame-0001.png"]);
    expect(outputPaths("x/b.gif/", 2)).toEqual([resolve("x/b-1.gif") + "/", resolve("x/b-2.gif") + "/"]);
  });

  it("latents may take the place of those that they go on from", async () => {
    const { code, err } = await shell("{}", decode("--out", "a.gif", "--save-latents", "done.safetensors"));
    expect(code, err).toBe(0);
    expect((await readLatents(readFileSync(join(folder, "done.safetensors")), "l")).state.step).toBe(4);
  });
});

describe.skipIf(process.platform === "win32")("pipes", () => {
  const small = ["--seed", "7", "--steps", "1", "--frames", "1"];

  it("a prompt comes by one, a video goes by one, and Dawn's two lines do not", async () => {
    const { code, err } = await shell(`(echo '${PROMPT}' | {}) 2>said | cat >made.png`, [
      "generate",
      "--model",
      model,
      ...small,
      "--out",
      "-",
    ]);
    expect(code, err).toBe(0);
    const made = readFileSync(join(folder, "made.png"));
    expect(commentIn(made)).toMatchObject({ prompt: PROMPT, seed: 7 });
    const named = await shell(`{} <<< '${PROMPT}' 2>&1 >path | cat`, [
      "generate",
      "-",
      "--model",
      model,
      ...small,
      "--out",
      "named.png",
      "--quiet",
    ]);
    expect([named.code, named.out]).toEqual([0, ""]);
    expect(readFileSync(join(folder, "path"), "utf8")).toBe(`${join(folder, "named.png")}\n`);
    expect(readFileSync(join(folder, "named.png"))).toEqual(made);
  });

  it("what cannot go by one is refused before anything is read", async () => {
    for (const args of [
      ["--out", "-", "--json"],
      ["--out", "-", "--samples", "2"],
      ["--out", "-.avi"],
      ["--out", "-.png", "--frames", "9"],
    ]) {
      const { code, out, err } = await shell("{}", ["generate", "--model", model, PROMPT, ...args]);
      expect([code, out], err).toEqual([2, ""]);
      expect(err).toMatch(/standard output takes/);
      expect(err).not.toMatch(/^load/m);
    }
    const { code, err } = await shell("{} </dev/null", ["generate", "--model", model]);
    expect([code, err.replace(/^Warning: .*\n/gm, "")]).toEqual([2, expect.stringMatching(/^\[generate\] a prompt must say what to show/)]);
  });
});

describe("what is odd about the process or its input", () => {
  it("names out of files are shown as text, and are not long", async () => {
    writeFileSync(
      join(folder, "esc\x1b[31m\nname.safetensors"),
      writeSafetensors({ ["w\x1b[2J\x1b]0;owned\x07\u202e".repeat(3000)]: { dtype: "F32", shape: [1], data: Float32Array.of(1) } }),
    );
    for (const [exit, ...args] of [
      [1, "validate"],
      [3, "generate", "--model", model, PROMPT, "--lora"],
      [1, "generate", "--model", model, PROMPT, "--latents"],
    ] as const) {
      const { code, out, err } = await shell("{}", [...args, "esc\x1b[31m\nname.safetensors"]);
      expect(code).toBe(exit);
      expect((out + err).length, args.join(" ")).toBeLessThan(6000);
      // eslint-disable-next-line no-control-regex
      expect(out + err).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/);
      expect(out + err).toContain("esc\\x1b[31m\\nname");
    }
  });

  it("a class's name and an option's value that are too long to be read are cut", async () => {
    const named = await tinyCheckpoint();
    const index = join(named, "model_index.json");
    writeFileSync(index, JSON.stringify({ ...JSON.parse(readFileSync(index, "utf8")), _class_name: `Cog\x1b[2J${"x".repeat(70_000)}` }));
    const inspected = await shell("{}", ["inspect", named]);
    expect(inspected.code, inspected.err).toBe(0);
    expect(inspected.out).toContain("Cog\\x1b[2Jxxx");
    expect(inspected.out.length).toBeLessThan(6000);
    const { code, err } = await shell("{}", ["generate", PROMPT, "--size", "9".repeat(70_000)]);
    expect(code).toBe(2);
    expect(err).toContain("characters)…");
    expect(err.length).toBeLessThan(2000);
  });

  it("an endless prompt is refused before it is read", async () => {
    writeFileSync(join(folder, "long.txt"), "word ".repeat(250_000));
    for (const file of ["long.txt", ...(existsSync("/dev/zero") ? ["/dev/zero"] : [])]) {
      const { code, err } = await shell("{}", ["generate", "--model", model, "--prompt-file", file]);
      expect(err).toMatch(/^\[input\] \S+ must have at most 1,000,000 bytes, got more; check the path$/m);
      expect(code).toBe(1);
    }
  });

  it.skipIf(process.platform === "win32")(
    "few files may be open, no home, no folder for temporary files, a folder that was removed: words, or a video",
    async () => {
      const few = await shell("ulimit -n 40; {}", decode("--out", "made/"));
      if (few.code !== 0) expect(few.err).toMatch(/^\[\w+\] .*EMFILE: more open files than this process may have/m);
      expect(few.err).not.toMatch(/^ +at /m);
      expect([0, 1]).toContain(few.code);
      for (const line of ["unset HOME XDG_CACHE_HOME; {}", "export HOME=/proc/none XDG_CACHE_HOME=/proc/none TMPDIR=/nowhere; {}"]) {
        const { code, err } = await shell(line, ["inspect", model]);
        expect([code, err.replace(/^.*shader cache.*\n/gm, "")], line).toEqual([0, ""]);
      }
      const { code, err } = await shell(`mkdir gone && cd gone && rmdir ../gone && {}`, [
        "generate",
        "--model",
        model,
        PROMPT,
        "--out",
        "a.gif",
      ]);
      expect(err).toBe("[system] the folder that a command is run in must exist, got one that was removed; change to another\n");
      expect(code).toBe(1);
    },
  );
});
