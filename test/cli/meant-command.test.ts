/** Which first words are taken for a command that was mistyped. */
import { expect, test } from "vitest";
import { refuseLateCommand, refuseMistypedCommand } from "../../src/cli/meant-command.ts";

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
  [["web"], "serve, whose address is the page"],
])("%j is refused with %s", (line, meant) => {
  expect(refused(line)).toThrow(`got ${JSON.stringify(line[0])}; what does that here is: ${meant}`);
  expect(refused(line)).toThrow(`To make a video of the word: \`cogwheel generate ${line[0]}\``);
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

test.each<[readonly string[], readonly string[]]>([
  [["--adapter", "lavapipe", "models"], ["models"]],
  [
    ["--adapter", "lavapipe", "validate", "test"],
    ["validate", "test"],
  ],
])("%j: a command after options is refused", (args, words) => {
  expect(() => refuseLateCommand(args, words, commands)).toThrow(
    `a command must come before its options, got ${words[0]} after them; write \`cogwheel ${words[0]} …\`. ` +
      `To make a video of the words: \`cogwheel generate ${words.join(" ")}\``,
  );
});

test.each<[readonly string[], readonly string[]]>([
  [
    ["--seed", "1", "train", "through", "snow"],
    ["train", "through", "snow"],
  ],
  [["--seed", "1", "a red circle"], ["a red circle"]],
  [["generate", "--seed", "1", "models"], ["models"]],
  [["validate", "test", "--adapter", "lavapipe"], ["test"]],
  [["--seed", "1"], []],
])("%j is let through with what is before the words", (args, words) => {
  expect(() => refuseLateCommand(args, words, commands)).not.toThrow();
});
