/** What people mistype, and what they are told: the rule, what was got, and what to do; an exit code of its kind. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { beforeAll, expect, it } from "vitest";
import { generate } from "../../src/cli/commands/generate.ts";
import { readFlags } from "../../src/cli/flags.ts";
import { useCommand } from "../support/command.ts";

const { folder, run } = useCommand();
beforeAll(() => {
  writeFileSync(join(folder, "photo.jpg"), Buffer.from("ffd8ffe000104a46494600", "hex"));
  writeFileSync(join(folder, "there.png"), "kept");
});

const SHAPE = "a red circle";
it.for<[string[], number, RegExp, NodeJS.ProcessEnv?]>([
  [[SHAPE, "--step", "5"], 2, /^error: unknown option '--step'\n\(Did you mean --steps\?\)/m],
  [[SHAPE, "--num-inference-steps", "5"], 2, /^What other programs call --num-inference-steps: --steps$/m],
  [[SHAPE, "--cfg-scale", "5"], 2, /^What other programs call --cfg-scale: --guidance$/m],
  [["-p", SHAPE], 2, /^What other programs call -p: the prompt is the first argument: `node \S+launch\.js "a red circle"`$/m],
  [[SHAPE, "--frames", "0"], 2, /8·k or 8·k \+ 1 frames, got 0; the nearest are 1, 8, 9/],
  [[SHAPE, "--frames", "abc"], 2, /'--frames <n>' argument 'abc' is invalid\. It must be a number/],
  [[SHAPE, "--steps", "1.5"], 2, /steps must be a whole number from 1 to 1000, got 1\.5; 50 is the published advice/],
  [[SHAPE, "--guidance", "-1"], 2, /guidance must be a number from 0 up, got -1; 6 is the published advice/],
  [[SHAPE, "--seed", "1e30"], 2, /a seed must be a whole number up to 2\^53 − 1, got 1e\+30/],
  [[SHAPE, "--size", "63x64"], 2, /must be multiples of 16, got width 63; the nearest is 64/],
  [[SHAPE, "--dtype", "f64"], 2, /argument 'f64' is invalid\. Allowed choices are f32, f16, q8, q4\./],
  [[SHAPE, "--scheduler", "euler"], 2, /argument 'euler' is invalid\. Allowed choices are ddim, dpm\./],
  [[SHAPE, "--strength", "2"], 2, /strength must be above 0 and at most 1, got 2; 0\.8 is the published advice/],
  [[SHAPE, "--timesteps", "5,5"], 2, /each below the one before, got \[5,5\]; leave them out/],
  [[SHAPE, "--out", "x.avi"], 2, /must end in \.mp4, \.webm, \.gif or \.png, .*x\.avi"; for a folder of that name end it with a slash/],
  [[SHAPE, "--memory", "lots"], 2, /It must be a size in bytes, such as 4GB or 512MB\./],
  [[SHAPE, "--model", "nope"], 3, /nope: a checkpoint must be a folder, got nothing there; .*, or org\/name on the hub/],
  [[SHAPE, "--image", "photo.jpg"], 1, /photo\.jpg must be a whole JPEG, got one that ends in the middle .*; copy or download it again/],
  [[SHAPE, "--again", "nope.mp4"], 1, /nope\.mp4 must be a readable file, got ENOENT: no such file; check the path/],
  [[SHAPE, "--batch", "nope.jsonl"], 2, /the lines of a batch have their own prompts, got one beside --batch; leave it out/],
  [["models", "rm", "nope"], 2, /a model must be 2b, .* or org\/name on the hub, got "nope"; `node \S+launch\.js models` lists them/],
  [["models", "lst"], 2, /^\[cli\] a command of models must be list, pull, path, rm, got "lst"; the nearest is list$/m],
  [["cache", "clean"], 2, /^\[cli\] a command of cache must be .*clear.*, got "clean"; the nearest is clear$/m],
  [["completion"], 2, /missing required argument 'bash\|zsh\|fish'/],
  [["completion", "powershell"], 2, /'powershell' is invalid .*Allowed choices are bash, zsh, fish\./],
  [["inspect", "nope"], 3, /nope: a checkpoint must be a folder, got nothing there/],
  [["train"], 2, /data must be given, got none; name a folder with --data, or in the config/],
  [[SHAPE, "--size", "64"], 2, /It must be WIDTHxHEIGHT, such as 720x480, or 480p, 768p\./],
  [["--seed", "1", "models"], 2, /^\[cli\] a command must come before .*, got models after them; write `node \S+launch\.js models …`\./m],
  [["model"], 2, /^\[cli\] a command must be .* here is: models\. To make a video of the word: `node \S+launch\.js generate model`$/m],
  [[], 2, /^\[generate\] a prompt must say what to show, got nothing; try: `node \S+launch\.js "a red circle/m],
  [[SHAPE], 5, /^\[adapter\] COGWHEEL_ADAPTER must be gpu, lavapipe, .* got "foo", and this machine has: /m, { COGWHEEL_ADAPTER: "foo" }],
  [
    [SHAPE, "--lora", "nope.safetensors"],
    3,
    /^\[lora\] nope\.safetensors must be a file that can be read, got no such file; check the path/m,
  ],
  [[SHAPE, "--lora", "photo.jpg"], 3, /must be a safetensors file, got a picture or film; check which file goes where \(in \S+\)/],
  [[SHAPE, "--image", "nope.png"], 1, /^\[video\] nope\.png must be a file that can be read, got ENOENT: no such file; check the path$/m],
  [
    [SHAPE, "--latents", "photo.jpg"],
    3,
    /must be a safetensors file, got a picture or film; check which file goes where \(in photo\.jpg\)/,
  ],
  [["vae", "decode", "photo.jpg", "--out", "x.mp4"], 3, /must be a safetensors file, got a picture or film; .*photo\.jpg/],
  [["validate", "photo.jpg"], 1, /cannot be run: \[checkpoint\] photo\.jpg: must be a safetensors file, got a picture or film/],
  [["validate", "nofolder"], 1, /nofolder: cannot be run: \[validate\] a path must be readable, got ENOENT: no such file; check it/],
  [
    [SHAPE, "--frames", "1", "--out", "there.png", "--no-clobber"],
    1,
    /^\[output\] --no-clobber keeps what is there, got \S*there\.png for --out; /m,
  ],
  [
    [SHAPE, "--size", "4096x4096", "--frames", "81"],
    4,
    /may attend over \d+ tokens .*, got \d+ of 4096 × 4096 and this many frames; at this size the most frames are (\d+), or choose a smaller size$/m,
  ],
  [[SHAPE, "--frames", "80001", "--memory", "100MB"], 4, /takes [\d.]+ [GM]B of the adapter's memory .* got a limit of 100\.?0* MB/],
])("%j", { timeout: 60_000 }, async ([args, exit, message, env = {}]) => {
  const { code, out, err } = await run(args, env);
  expect(out + err).toMatch(message);
  expect(out + err).not.toMatch(/^ +at |^(load|denoise|decode)/m);
  expect(code).toBe(exit);
});

it("a file that will be replaced and a folder that will be made are told before", { timeout: 60_000 }, async () => {
  const shape = (out: string) => run([SHAPE, "--frames", "1", "--steps", "1", "--out", out]);
  const [there, made] = [await shape("there.png"), await shape(join("new", "a.png"))];
  expect(there.err).toMatch(/there\.png is there, and will be replaced\.$[^]*^denoise/m);
  expect(made.err).toMatch(/^The folder \S*new is not there, and will be made\.$[^]*^denoise/m);
  const own = await run([SHAPE, "--frames", "1", "--steps", "1"]);
  expect(own.err, "a folder that nobody named").not.toContain("will be made");
  expect([there.code, made.code, own.code]).toEqual([0, 0, 0]);
});

it.each([
  ["64X48", 64, 48],
  ["64*48", 64, 48],
  ["64:48", 64, 48],
  ["480p", 720, 480],
  ["768P", 1360, 768],
])("--size %s is a size", (text, width, height) => {
  const command = new Command();
  generate.declare!(command);
  command.parse(["-o", "a.mp4", "-m", "2b", "-q", "--size", text], { from: "user" });
  const { given, own } = readFlags<{ out: string; model: string; quiet: boolean }>(command.opts());
  expect(given).toMatchObject({ width, height });
  expect(own).toMatchObject({ out: "a.mp4", model: "zai-org/CogVideoX-2b", quiet: true });
});
