/** `cogwheel worker` on a queue, as a user starts it: a process of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { LAUNCHER } from "./command.ts";

export interface QueueWorker extends AsyncDisposable {
  /** What it has said. */
  text(): string;
  /** What it calls itself. */
  id(): string | undefined;
  /** Ends the process that works, without a word. */
  kill(): Promise<void>;
  /** Stops the process that works where it is, and lets it go on. */
  stop(): void;
  goOn(): void;
  /** As Ctrl-C does; resolves to the exit code. */
  end(): Promise<number | null>;
}

/** A worker of a second's lease until disposed of, which is told by Ctrl-C. @param cwd where `queue` is, if it is a folder */
export function queueWorker(cwd: string, queue: string, flags: readonly string[] = [], env: NodeJS.ProcessEnv = {}): QueueWorker {
  const child: ChildProcess = spawn(process.execPath, [LAUNCHER, "worker", "--queue", queue, "--lease", "1", ...flags], {
    cwd,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let text = "";
  for (const stream of [child.stdout!, child.stderr!]) stream.on("data", (part: Buffer) => (text += part.toString()));
  const ended = new Promise<number | null>((done) => child.on("close", done));
  const id = (): string | undefined => /Worker (\S*-\d+-\w+) /.exec(text)?.[1];
  // The launcher starts the process that works, whose number is in its name.
  const signal = (name: NodeJS.Signals): boolean => process.kill(Number(id()!.split("-").at(-2)), name);
  return {
    text: () => text,
    id,
    async kill() {
      signal("SIGKILL");
      await ended;
    },
    stop: () => void signal("SIGSTOP"),
    goOn: () => void signal("SIGCONT"),
    async end() {
      child.kill("SIGINT");
      return await ended;
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGINT");
      await ended;
    },
  };
}
