/** `generate --batch`, config files and completion, as a user has them: in processes of their own. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { declareGenerate } from "../../src/cli/commands/generate.ts";
import { COMMANDS } from "../../src/cli/commands/index.ts";
import { completionScript } from "../../src/cli/completion.ts";
import { packageInfo } from "../../src/cli/package-root.ts";
import { readObject } from "../../src/cli/generate/as-options.ts";
import { commentIn } from "../../src/video/comment.ts";
import { useCommand } from "../support/command.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";
import type { Ended } from "../support/watched.ts";

const { version } = packageInfo();
const { folder, run } = useCommand();
let model: string;
beforeAll(async () => {
  model = await tinyCheckpoint();
});
afterAll(removeTinyCheckpoints);

const cogwheel = (...args: string[]): Promise<Ended> => run(args, { XDG_CONFIG_HOME: join(folder, "config") });
const batch = (lines: readonly unknown[], ...args: string[]): Promise<Ended> => {
  writeFileSync(join(folder, "all.jsonl"), lines.map((line) => `${typeof line === "string" ? line : JSON.stringify(line)}\n`).join(""));
  return cogwheel("--model", model, "--batch", "all.jsonl", ...args);
};
const made = (name: string) => commentIn(readFileSync(join(folder, name)));

describe("--batch", () => {
  const small = { frames: 1, steps: 1 };
  it("makes every line, goes on past one that fails, and on repeating makes only what is not done", async () => {
    const lines = [
      { prompt: "a red circle", seed: 1, ...small, out: "a.png" },
      "",
      { prompt: "a blue square", size: "33x16", ...small, out: "b.png" },
    ];
    const first = await batch([...lines, { prompt: "a cyan circle", ...small, out: "c.png", negative: "no" }], "--json", "--seed", "5");
    expect(first.code, first.err).toBe(2);
    expect(first.err).toMatch(/^line 3: \[generate\] height and width must be multiples of 16, got width 33/m);
    expect(first.err.indexOf("line 3: "), "told before anything is made").toBeLessThan(first.err.indexOf("1 of 2, line 1: "));
    expect(first.err.match(/, f(16|32)$/gm), "the adapter is named once").toHaveLength(1);
    expect(first.err).toMatch(/^\[generate\] every line must be made, got 1 of 3 that failed; repeat the command for these$/m);
    const told = first.out
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { seed: number; files: string[] });
    expect(told.map(({ seed, files }) => [seed, files])).toEqual([
      [1, [join(folder, "a.png")]],
      [5, [join(folder, "c.png")]],
    ]);
    expect([made("a.png"), made("c.png")]).toMatchObject([
      { seed: 1, version },
      { seed: 5, prompt: "a cyan circle", negative: "no" },
    ]);

    const before = statSync(join(folder, "a.png")).mtimeMs;
    rmSync(join(folder, "c.png"));
    lines[2] = { ...(lines[2] as object), size: "32x16" } as never;
    const second = await batch([...lines, { prompt: "a cyan circle", ...small, out: "c.png", negative: "no" }], "--seed", "5", "--quiet");
    expect(second.code, second.err).toBe(0);
    expect(second.out).toBe(`${join(folder, "b.png")}\n${join(folder, "c.png")}\n`);
    expect(statSync(join(folder, "a.png")).mtimeMs, "was done").toBe(before);
    const third = await batch([lines[0]!], "--seed", "5");
    expect([third.code, third.out]).toEqual([0, ""]);
    expect(third.err).toContain("1 of 1 lines are done already");
    // Of two lines that ask for the same, one that is done does not do for both.
    const twice = { prompt: "a red circle", ...small };
    await batch([twice], "--quiet");
    const fourth = await batch([twice, twice], "--quiet");
    expect([fourth.code, fourth.out.trimEnd().split("\n").length]).toEqual([0, 1]);
  });

  it.for<[unknown, RegExp]>([
    ["{", /all\.jsonl, line 1: must be JSON, got /],
    [[1], /all\.jsonl, line 1: must be an object of options, got \[1\]/],
    [{ prompt: "x", stepz: 4 }, /line 1: must hold options of generate, got "stepz"; the nearest is steps/],
    [{ prompt: "x", model: "2b" }, /line 1: cannot hold model, which is of the whole command/],
    [{ prompt: "x", steps: "many" }, /line 1: option '--steps <n>' argument 'many' is invalid/],
    [{ prompt: "x", out: "-" }, /line 1: standard output is the batch's, got --out -/],
    [
      '{ "prompt": "x", "out": "a.png" }\n{ "prompt": "y", "out": "./a.png" }',
      /line 2: each line must write files of its own, got out \.\/a\.png of line 1; name another/,
    ],
    ["", /all\.jsonl: a batch must have a line, got none/],
  ])("%j is refused before anything is made", async ([line, message]) => {
    expect(await batch([line])).toMatchObject({ code: 2, out: "", err: expect.stringMatching(message) });
  });
});

describe("config files", () => {
  it("the project's stands above the user's, and the command line above both", async () => {
    mkdirSync(join(folder, "config/cogwheel"), { recursive: true });
    writeFileSync(join(folder, "config/cogwheel/config.json"), JSON.stringify({ steps: 3, frames: 1, metadata: false, quiet: true }));
    writeFileSync(join(folder, "cogwheel.json"), JSON.stringify({ model, steps: 2, seed: 9 }));
    const { settings, seed } = JSON.parse((await cogwheel("a red circle", "--dry-run", "--json", "--seed", "4")).out) as Record<
      string,
      unknown
    >;
    expect([settings, seed]).toMatchObject([{ steps: 2, frames: 1, width: 32 }, 4]);
    const { code, err } = await cogwheel("a red circle", "--out", "plain.png");
    expect([code, err.replace(/^Warning: .*\n/gm, "")]).toEqual([0, ""]);
    expect(made("plain.png"), "no metadata").toBeUndefined();
    writeFileSync(join(folder, "cogwheel.json"), JSON.stringify({ stesp: 2 }));
    expect(await cogwheel("a red circle")).toMatchObject({
      code: 2,
      err: expect.stringContaining('cogwheel.json: must hold options of generate, got "stesp"; the nearest is steps'),
    });
    rmSync(join(folder, "cogwheel.json"));
    rmSync(join(folder, "config"), { recursive: true });
  });
});

it("a preset says how many steps are made, unless they are given", async () => {
  const steps = async (...more: string[]): Promise<unknown> =>
    (JSON.parse((await cogwheel("a red circle", "--dry-run", "--json", ...more)).out) as { settings: { steps: number } }).settings.steps;
  expect([await steps(), await steps("--preset", "draft"), await steps("--preset", "quality")]).toEqual([20, 8, 40]);
  expect(await steps("--preset", "draft", "--steps", "5")).toBe(5);
  expect(await cogwheel("a red circle", "--preset", "draft", "--timesteps", "999,500")).toMatchObject({
    code: 2,
    err: expect.stringContaining("--preset says how many steps are made, got --preset draft and --timesteps; leave one out"),
  });
});

it("an object reads as the command line does", () => {
  const read = (value: unknown) => readObject(value, (command: Command) => declareGenerate(command), { where: "here" }).options;
  const object = {
    size: "64x48",
    lora: ["a.safetensors:0.5", "b"],
    timesteps: [999, 500],
    cache: false,
    profile: true,
    memory: "4GB",
    negative: "-x",
  };
  const command = declareGenerate(new Command());
  command.parse(
    ["--size", "64x48", "--lora", "a.safetensors:0.5", "--lora", "b", "--timesteps", "999,500", "--no-cache", "--profile"].concat([
      "--memory",
      "4GB",
      "--negative=-x",
    ]),
    { from: "user" },
  );
  const { metadata: _, clobber: __, ...want } = command.opts<Record<string, unknown>>();
  expect(read(object)).toEqual(want);
  expect(() => read({ steps: true })).toThrow("here: steps takes a value, got true");
  expect(() => read({ steps: { n: 1 } })).toThrow('here: steps must be a text or a number, got {"n":1}');
});

/** What asks each shell's function for a line's last word, and prints what it offers; in zsh without the editor that it is called from. */
const ASK = {
  bash: `COMP_WORDS=(cogwheel "$@"); COMP_CWORD=$#; _cogwheel; printf '%s\\n' "\${COMPREPLY[@]}"`,
  zsh: `offer() { local one; for one; do [[ $one == "$PREFIX"* ]] && print -r -- "$one"; done; }
    compadd() { shift; offer "$@" }
    _describe() { local list=\${@[-1]}; offer "\${\${(P@)list}[@]%%:*}" }
    _files() { offer *(N) }
    words=(cogwheel "$@"); CURRENT=$#words; PREFIX=$words[-1]; _cogwheel; true`,
  fish: `complete -C "cogwheel $argv" | string split -f 1 \\t`,
} as const;

describe.each(["bash", "zsh", "fish"] as const)("completion in %s", (shell) => {
  const missing = spawnSync(shell, ["--version"]).status !== 0;
  it.skipIf(missing)("offers what may stand there (needs that shell)", () => {
    mkdirSync(join(folder, "completed", "models"), { recursive: true });
    writeFileSync(join(folder, "completed", "a b.json"), "{}");
    const files = ["a b.json", "models"];
    const models = ["1.5-5b", "1.5-5b-i2v", "2b", "5b", "5b-i2v"];
    const lines: [words: string[], offered: string[]][] = [
      [["mo"], ["models"]], // and not the folder of that name
      [
        ["models", "p"],
        ["path", "pull"],
      ],
      [["models", "list", "--f"], ["--fit"]],
      [["generate", "--sched"], ["--scheduler"]],
      [["--sched"], ["--scheduler"]],
      [
        ["--scheduler", ""],
        ["ddim", "dpm"],
      ],
      [
        ["generate", "--dtype", ""],
        ["f16", "f32", "q4", "q8"],
      ],
      [
        ["train", "--dtype", ""],
        ["f16", "f32"],
      ],
      [["models", "pull", ""], models],
      [
        ["--model", ""],
        [...models, ...files],
      ],
      [
        ["train", ""],
        [...files, "vae"],
      ],
      [["train", "vae", "en"], []], // and not `vae encode`
      [
        ["completion", ""],
        ["bash", "fish", "zsh"],
      ],
      [["--image", "a"], ["a b.json"]],
      [["--steps", ""], []],
    ];
    const none = shell === "zsh" ? "compdef() { :; }\n" : "";
    for (const [words, want] of lines) {
      const given = shell === "fish" ? [words.join(" ")] : words;
      const script = `${none}${completionScript(shell, COMMANDS)}\n${ASK[shell]}`;
      const args = shell === "fish" ? ["--no-config", "-c", script, "--"] : ["-c", script, shell];
      const { stdout, stderr } = spawnSync(shell, [...args, ...given], { encoding: "utf8", cwd: join(folder, "completed") });
      expect(stderr).toBe("");
      const offered = stdout
        .split("\n")
        .filter(Boolean)
        .map((line) => line.replace(/\/$/, ""));
      expect(offered.sort(), words.join(" ")).toEqual(want.toSorted());
    }
  });

  it("has every command and option", async () => {
    const { code, out } = await cogwheel("completion", shell);
    expect(code).toBe(0);
    for (const name of COMMANDS.map((one) => one.name)) expect(out).toMatch(new RegExp(`[ "('|]${name}\\b`));
    expect(out).toContain(shell === "fish" ? "-l dry-run" : "--dry-run");
  });
});
