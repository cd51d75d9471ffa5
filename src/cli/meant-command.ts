/** A mistyped command is not a prompt: what makes a video of words that name no command would else spend minutes on `models`. */
import { existsSync } from "node:fs";
import { CogwheelError } from "../base/errors.ts";
import { editDistance } from "../base/near-name.ts";

/** What people expect of other programs, and what does that here. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  bench: "npm run bench, in the source",
  benchmark: "npm run bench, in the source",
  config: "train CONFIG.json, and options of each command",
  devices: "adapters",
  download: "models pull NAME",
  install: "models pull NAME",
  list: "models, adapters, cache or inspect",
  playground: "serve, whose address is the page",
  pull: "models pull NAME",
  rm: "models rm NAME",
  run: "generate",
  server: "serve",
  ui: "serve, whose address is the page",
  update: "npm install cogwheel-webgpu@latest",
  version: "--version",
  web: "serve, whose address is the page",
};

/**
 * Refuses a first word that is, or nearly is, a command's name, where nothing tells that it begins a prompt: it stands alone, or before
 * words in quotes. Several words are a prompt.
 * @param args after the program's name @param commands names of those there are
 */
export function refuseMistypedCommand(args: readonly string[], commands: readonly string[]): void {
  const [first = "", ...others] = args;
  if (!/^[a-z][a-z-]*$/i.test(first) || commands.includes(first)) return;
  const words = others.slice(0, others.findIndex((arg) => arg.startsWith("-")) >>> 0);
  if (words.length && !words.some((word) => /\s|\.json$/.test(word.trim()))) return;
  const word = first.toLowerCase();
  const near = commands.find((name) => editDistance(word, name) <= (name.length > 5 ? 2 : name.length > 3 ? 1 : 0));
  // Of what is called so elsewhere only long names are recognised when mistyped: "rain" is a prompt.
  const other = Object.keys(ELSEWHERE).find((name) => editDistance(word, name) <= (name.length > 5 ? 1 : 0));
  const meant = near ?? (other === undefined ? undefined : ELSEWHERE[other]);
  if (meant)
    throw new CogwheelError(
      "cli",
      `a command must be ${commands.join(", ")}, got ${JSON.stringify(first)}; what does that here is: ${meant}. ` +
        `To make a video of the word: \`cogwheel generate ${first}\``,
    );
}

/**
 * Refuses a command's name after options (`--adapter lavapipe validate FOLDER`), which makes a prompt of it: where it stands alone, or
 * before something that is there.
 * @param args after the program's name @param words those of `args` that are no options
 */
export function refuseLateCommand(args: readonly string[], words: readonly string[], commands: readonly string[]): void {
  const [name, path] = words;
  if (!args[0]?.startsWith("-") || name === undefined || !commands.includes(name) || (path !== undefined && !existsSync(path))) return;
  throw new CogwheelError(
    "cli",
    `a command must come before its options, got ${name} after them; write \`cogwheel ${name} …\`. ` +
      `To make a video of the words: \`cogwheel generate ${words.join(" ")}\``,
  );
}
