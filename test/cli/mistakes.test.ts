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
  [[SHAPE, "--size", "64"], 2, /It must be WIDTHxHEIGHT, such as 720x480, or 480p, 768p\./],
  [["model"], 2, /^\[cli\] a command must be .* what does that here is: models\. To make a video of the word: generate model$/m],
  [[], 2, /^\[generate\] a prompt must say what to show, got nothing; try: cogwheel "a red circle/m],
  [[SHAPE], 5, /^\[adapter\] COGWHEEL_ADAPTER must be gpu, lavapipe, .* got "foo", and this machine has: /m, { COGWHEEL_ADAPTER: "foo" }],
  [
    [SHAPE, "--lora", "nope.safetensors"],
    3,
    /^\[lora\] nope\.safetensors must be a file that can be read, got no such file; check the path/m,
  ],
  [[SHAPE, "--image", "nope.png"], 1, /^\[video\] nope\.png must be a file that can be read, got ENOENT: no such file; check the path$/m],
  [
    [SHAPE, "--latents", "photo.jpg"],
    3,
    /must be a safetensors file, got a picture or film; check which file goes where \(in photo\.jpg\)/,
  ],
  [["vae", "decode", "photo.jpg", "--out", "x.mp4"], 3, /must be a safetensors file, got a picture or film; .*photo\.jpg/],
  [["validate", "nofolder"], 1, /nofolder: cannot be run: \[validate\] a path must be readable, got ENOENT: no such file; check it/],
  [
    [SHAPE, "--frames", "1", "--out", "there.png", "--no-clobber"],
    1,
    /^\[output\] --no-clobber keeps what is there, got \S*there\.png for --out; /m,
  ],
  [[SHAPE, "--frames", "80001", "--memory", "100MB"], 4, /takes [\d.]+ [GM]B of the adapter's memory .* got a limit of 100\.?0* MB/],
])("%j", { timeout: 60_000 }, async ([args, exit, message, env = {}]) => {
  const { code, out, err } = await run(args, env);
  expect(out + err).toMatch(message);
  expect(out + err).not.toMatch(/^ +at |^(load|denoise|decode)/m);
  expect(code).toBe(exit);
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
