/** The command as its user can type it: hints name it `cogwheel`, which only an installation for all of a machine puts within reach. */
import { basename, isAbsolute, relative, sep } from "node:path";

/** How the launcher was started; it is handed to what it starts. */
const VARIABLE = "COGWHEEL_CALLED";

/** What runs a package's command, by the name that package managers give to what they start. */
const RUNNERS: readonly (readonly [agent: string, runner: string])[] = [
  ["pnpm/", "pnpm exec"],
  ["yarn/", "yarn"],
  ["bun/", "bunx"],
];

export interface Started {
  /** The script, as Node was given it: a link in a folder of commands, or the file itself. */
  readonly script: string;
  /** The variables that npm and its like set for what they start. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
}

/** What to type before the arguments, to start the same again. */
export function calledAs({ script, env, cwd }: Started): string {
  const agent = env["npm_config_user_agent"] ?? "";
  // npm's `cogwheel` is another package, which npx would fetch where this one is not installed.
  if (script.split(sep).includes("node_modules"))
    return `${RUNNERS.find(([name]) => agent.startsWith(name))?.[1] ?? "npx"} cogwheel-webgpu`;
  const scripts = ["cogwheel", "start"]; // of the checkout
  if (env["npm_package_name"] === "cogwheel-webgpu" && scripts.includes(env["npm_lifecycle_event"] ?? "")) return "npm run cogwheel --";
  if (/^cogwheel(-webgpu)?$/.test(basename(script))) return basename(script);
  const near = relative(cwd, script);
  const path = near.startsWith("..") || isAbsolute(near) ? script : near;
  return `node ${/\s/.test(path) ? JSON.stringify(path) : path}`;
}

/** To be called once, by the launcher, before it makes place for another script. */
export function rememberCall(): void {
  process.env[VARIABLE] = calledAs({ script: process.argv[1] ?? "", env: process.env, cwd: process.cwd() });
}

/** The command's name in usage lines. */
export const called = (): string => process.env[VARIABLE] || "npx cogwheel-webgpu";

/** A text whose commands (`cogwheel models`, in such quotes) are as the user can type them. */
export const asCalled = (text: string): string => text.replace(/`cogwheel (?=\S)/g, () => `\`${called()} `);
