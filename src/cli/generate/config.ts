/** Options that are not given on the command line: from the project's `cogwheel.json`, then from the user's own file. */
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import { CogwheelError } from "../../base/errors.ts";
import { readObject } from "./as-options.ts";

const PROJECT = "cogwheel.json";
/** What is said each time, or is no default. */
const NOT_THERE = ["again", "batch", "dryRun", "latents", "out", "plan", "promptFile", "saveLatents"];

/** The user's own file. */
export const userConfig = (): string => {
  const { XDG_CONFIG_HOME, APPDATA } = process.env;
  const base = XDG_CONFIG_HOME || (process.platform === "win32" && APPDATA) || join(homedir(), ".config");
  return join(base, "cogwheel", "config.json");
};

/** What was parsed, above the project's file, above the user's. `COGWHEEL_CONFIG=off` reads neither. */
export async function withConfigs(parsed: object, declare: (command: Command) => Command): Promise<object> {
  if (process.env["COGWHEEL_CONFIG"] === "off") return parsed;
  const [user, project] = [await readConfig(userConfig(), declare), await readConfig(PROJECT, declare)];
  // A `--no-` option that was not given stands as true: only one that was said is above what a file says.
  const given = Object.entries(parsed).filter(([name, value]) => !(value === true && (user[name] === false || project[name] === false)));
  return { ...parsed, ...user, ...project, ...Object.fromEntries(given) };
}

async function readConfig(path: string, declare: (command: Command) => Command): Promise<Readonly<Record<string, unknown>>> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "EACCES"].includes((error as NodeJS.ErrnoException).code ?? "")) return {};
    throw error;
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new CogwheelError("cli", `${path}: must be JSON, got ${(error as Error).message}; correct it, or set COGWHEEL_CONFIG=off`, {
      cause: error,
    });
  }
  const { prompt, options } = readObject(value, declare, { where: path, not: NOT_THERE });
  if (prompt !== undefined) throw new CogwheelError("cli", `${path}: holds defaults of options, got a prompt; give it on the command line`);
  return options;
}
