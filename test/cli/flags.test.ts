/** The command's options as they follow from the table: each is declared, read, and found under the option's name. */
import { Command } from "commander";
import { describe, expect, it } from "vitest";
import { generate } from "../../src/cli/commands/generate.ts";
import { readFlags, type Flags } from "../../src/cli/flags.ts";
import type { Option } from "../../src/pipelines/options/option.ts";
import { OPTION_LIST, type OptionName } from "../../src/pipelines/options/table.ts";

/** What `generate` makes of these arguments. */
function read(args: readonly string[]): Flags<{ out?: string; saveLatents?: string }> {
  const command = new Command().exitOverride().configureOutput({ writeErr: () => undefined });
  generate.declare!(command);
  command.parse(args, { from: "user" });
  return readFlags(command.opts());
}

const flagged = OPTION_LIST.filter(([, { flag }]) => flag !== undefined);

/** A value as it is written, and as it is read. */
function sample(name: OptionName, { values, flag }: Option<unknown>): { written: string[]; value: unknown } {
  if (flag!.startsWith("--size")) return { written: ["48x32"], value: name === "width" ? 48 : 32 };
  if (/[<[]file[>\]]$/.test(flag!)) return { written: ["some.file"], value: "some.file" };
  if (values.kind === "number") return { written: ["7"], value: 7 };
  if (values.kind === "bytes") return { written: ["1.5 GiB"], value: 1.5 * 2 ** 30 };
  if (values.kind === "numbers") return { written: ["999,856, 1"], value: [999, 856, 1] };
  if (values.kind === "switch") return { written: [], value: !flag!.startsWith("--no-") };
  if (values.kind === "adapters") return { written: ["turn.safetensors:0.5"], value: [{ adapter: "turn.safetensors", scale: 0.5 }] };
  const value = values.kind === "choice" ? Object.keys(values.choices!).at(-1)! : "words of it";
  return { written: [value], value };
}

describe("flags", () => {
  it.for(flagged)("%s", ([name, option]) => {
    const { written, value } = sample(name, option);
    const { given, files, own } = read([option.flag!.split(" ")[0]!, ...written]);
    expect({ ...given, ...files }).toHaveProperty(name, value);
    expect(own).toEqual({ metadata: true, clobber: true });
    expect(name in files, "a path, not a value").toBe(/[<[]file[>\]]$/.test(option.flag!));
  });

  it("adapters add up; a trace needs no name; the rest is the command's own", () => {
    const { given, files, own } = read([
      "--lora",
      "a:1e-1",
      "--profile",
      "--out",
      "x.mp4",
      "--lora",
      "b",
      "--save-latents",
      "l",
      "a circle",
    ]);
    expect(given).toEqual({ cache: true, loras: [{ adapter: "a", scale: 0.1 }, { adapter: "b" }] });
    expect(files).toEqual({ gpuProfile: true });
    expect(own).toEqual({ out: "x.mp4", saveLatents: "l", metadata: true, clobber: true });
  });

  it.for([
    ["--steps", "many"],
    ["--memory", "lots"],
    ["--memory", "-4GB"],
    ["--memory", "0"],
    ["--fit", "squash"],
    ["--size", "32"],
    ["--seed", ""],
  ])("refuses %j", (args) => {
    expect(() => read(args)).toThrow(/is invalid/);
  });
});
