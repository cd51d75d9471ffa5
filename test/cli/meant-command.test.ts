/** Which first words are taken for a command that was mistyped. */
import { expect, test } from "vitest";
import { refuseMistypedCommand } from "../../src/cli/meant-command.ts";

const commands = ["generate", "vae", "validate", "inspect", "models", "quantize", "train", "tune", "cache", "adapters", "data", "help"];
const refused = (line: readonly string[]) => () => refuseMistypedCommand(line, commands);

test.each<[readonly string[], string]>([
  [["generat"], "generate"],
  [["generat", "a red circle"], "generate"],
  [["gneerate", "a red circle", "--seed", "1"], "generate"],
  [["Adapter"], "adapters"],
  [["trian", "run.json"], "train"],
  [["model"], "models"],
  [["download", "--model", "a/b"], "models pull NAME"],
  [["dta"], "data"],
  [["rain"], "train"],
  [["downlod"], "models pull NAME"],
])("%j is refused with %s", (line, meant) => {
  expect(refused(line)).toThrow(`got ${JSON.stringify(line[0])}; what does that here is: ${meant}`);
  expect(refused(line)).toThrow(`To make a video of the word: generate ${line[0]}`);
});

test.each<[readonly string[]]>([
  [[]],
  [["--model", "2b", "models"]],
  [["generate", "models"]],
  [["train"]],
  [["circle"]],
  [["a red circle"]],
  [["model", "walk", "by"]],
  [["dates", "falling"]],
  [["vase"]],
  [["ran"]],
  [["lost"]],
])("%j is let through", (line) => {
  expect(refused(line)).not.toThrow();
});
