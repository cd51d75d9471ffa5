/** `cogwheel serve` as a user starts it: a process of its own, with its worker below it. */
import { spawn, type ChildProcess } from "node:child_process";
import { join } from "node:path";

const LAUNCH = join(import.meta.dirname, "../../dist/launch.js");

export interface ServeProcess extends AsyncDisposable {
  readonly url: string;
  /** What it has said. */
  said(): string;
  /** Ends server and worker at once, without a word. */
  kill(): Promise<void>;
  /** As Ctrl-C does; resolves to the exit code. */
  stop(): Promise<number | null>;
}

export async function serveProcess(args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = {}): Promise<ServeProcess> {
  const child: ChildProcess = spawn(process.execPath, [LAUNCH, "serve", "--port", "0", ...args], {
    cwd,
    env: { ...process.env, ...env },
    detached: true, // a group of its own, which ends whole
    stdio: ["ignore", "pipe", "pipe"],
  });
  let text = "";
  for (const stream of [child.stdout!, child.stderr!]) stream.on("data", (piece: Buffer) => (text += piece.toString()));
  const closed = new Promise<number | null>((resolve) => child.on("close", resolve));
  const signal = (name: NodeJS.Signals, group: boolean): void => {
    try {
      process.kill(group ? -child.pid! : child.pid!, name);
    } catch {
      // it has ended
    }
  };
  const url = await new Promise<string>((resolve, reject) => {
    const look = (): void => {
      const [, found] = /Listening on (\S+) /.exec(text) ?? [];
      if (found) resolve(found);
    };
    child.stdout!.on("data", look);
    void closed.then(() => reject(new Error(`cogwheel serve ended: ${text}`)));
  });
  const kill = async (): Promise<void> => {
    signal("SIGKILL", true);
    await closed;
  };
  return {
    url,
    said: () => text,
    kill,
    stop: async () => {
      signal("SIGINT", false);
      return await closed;
    },
    [Symbol.asyncDispose]: kill,
  };
}
