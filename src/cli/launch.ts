#!/usr/bin/env node
/**
 * The command `cogwheel`: finds the adapter, then runs the command line (or, with `--exec SCRIPT`, any script) in an environment in
 * which Dawn sees that adapter. Most variables can be set in this process. LD_LIBRARY_PATH cannot, because the dynamic linker reads it
 * when a process begins: where it is needed, on a system without a Vulkan loader, Node is started a second time.
 *
 *   cogwheel [ARGUMENTS…]                            the command line
 *   cogwheel [--adapter NAME] --exec SCRIPT [ARGUMENTS…]   a script under the same environment
 */
import "../base/dispose.ts";
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { CogwheelError } from "../base/errors.ts";
import { beginSession, leaveSession, readSession } from "../platform/choose.ts";
import { pipeStandardError } from "../platform/muffled-node.ts";
import { answerProbe, applyEnvironment, probeInChild, type Environment } from "../platform/probe.ts";
import { systemComplaint } from "../platform/system-error.ts";
import { asCalled, rememberCall } from "./terminal/called.ts";

const self = fileURLToPath(import.meta.url);

/** Commands that compute nothing on an adapter, or ask for one themselves where they do. */
const WITHOUT_ADAPTER: ReadonlySet<string> = new Set(["completion", "data", "models", "serve"]);

/** The value of `--adapter`, where the arguments have it. */
function adapterOf(args: readonly string[]): string | undefined {
  const index = args.findIndex((argument) => argument === "--adapter" || argument.startsWith("--adapter="));
  if (index < 0) return undefined;
  return args[index]!.startsWith("--adapter=") ? args[index]!.slice("--adapter=".length) : args[index + 1];
}

/** Runs the script in this process. */
async function runHere(script: string, args: readonly string[]): Promise<void> {
  process.argv.splice(1, Infinity, script, ...args);
  await import(pathToFileURL(script).href);
}

/** What the signals mean that nobody sends by hand. */
const ENDINGS: Partial<Record<NodeJS.Signals, string>> = {
  SIGKILL: "the system ends what takes too much memory; choose a smaller size, fewer frames or --dtype f16",
  SIGSEGV: "a driver crashed, or ran out of memory or address space (ulimit -v); try another --adapter",
  SIGBUS: "a driver crashed, or ran out of memory or room for its files; try another --adapter",
  SIGABRT: "a driver gave up, or ran out of memory, threads or address space (ulimit -v, ulimit -u); try another --adapter",
  SIGILL: "a driver crashed; try another --adapter",
};

/** Starts Node again; gives the child the signals that end a process, and ends as it ended. */
function runAgain(script: string, args: readonly string[], env: Environment): void {
  const child = spawn(process.execPath, [...process.execArgv, script, ...args], { env: { ...process.env, ...env }, stdio: "inherit" });
  const terminal = [process.stdin, process.stdout, process.stderr].some((stream) => stream.isTTY);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      // A terminal's Ctrl-C reaches the child by itself; a second one would end it at once.
      if (!(terminal && signal === "SIGINT")) child.kill(signal);
    });
  }
  child.on("error", (error) => {
    console.error(`[launch] Node must be able to start itself again, got ${error.message}`);
    process.exit(1);
  });
  child.on("exit", (code, signal) => {
    const cause = signal === null ? undefined : ENDINGS[signal];
    if (cause !== undefined) console.error(`[launch] the process must end by itself, got ${signal}: ${cause}`);
    process.exit(code ?? 128 + (signal ? constants.signals[signal] : 1));
  });
}

async function launch(): Promise<void> {
  let args = process.argv.slice(2);
  if (args[0] === "--probe") {
    await answerProbe(args[1] === "all" ? "all" : "best");
    return;
  }
  rememberCall();
  let want = adapterOf(args) ?? (process.env["COGWHEEL_ADAPTER"] || undefined);
  let script = fileURLToPath(new URL("./cli.js", import.meta.url));
  const exec = args.indexOf("--exec");
  let named: string | undefined;
  // The script asks for it by the variable; not before, since what is wrong with the name is told of where it was given.
  const tellScript = (): void => {
    if (named !== undefined) process.env["COGWHEEL_ADAPTER"] = named;
  };
  if (exec >= 0 && args.slice(0, exec).every((argument, index) => argument.startsWith("--adapter") || args[index - 1] === "--adapter")) {
    if (args[exec + 1] === undefined) {
      console.error("[launch] --exec needs a script, got nothing after it; write --exec SCRIPT ARGUMENTS");
      process.exit(2);
    }
    named = adapterOf(args.slice(0, exec));
    want = named ?? want;
    script = resolve(args[exec + 1]!);
    args = args.slice(exec + 2);
  }
  const session = readSession();
  const settled = (session && session.want === want && session.error === undefined) || (exec < 0 && WITHOUT_ADAPTER.has(args[0] ?? ""));
  const asksOnly = args[0] === "completion" || args.some((argument) => ["--help", "-h", "--version", "-V"].includes(argument));
  if (!asksOnly) pipeStandardError();
  if (!settled && !asksOnly) {
    if (session) leaveSession(session);
    const env = await beginSession(want, probeInChild(self), self);
    tellScript();
    if (!applyEnvironment(env)) return runAgain(script, args, env);
  }
  tellScript();
  await runHere(script, args);
}

try {
  await launch();
} catch (error) {
  // The command line has words for its own errors; these are of the search for an adapter, or of Node's own loading.
  console.error(error instanceof CogwheelError ? asCalled(error.message) : (systemComplaint(error) ?? error));
  process.exit(error instanceof CogwheelError && error.code === "device" ? 5 : 1);
}
