/**
 * The worker beside the server: a process of its own, so that the server answers while an adapter is busy, and so that what ends a worker
 * (a driver, the system's memory) does not end the server. One that ends is started again; its job goes on from its last step.
 */
import { spawn, type ChildProcess } from "node:child_process";

/** Milliseconds before it is started again: longer each time that it did not last. */
const FIRST_MS = 500;
const MOST_MS = 60_000;
/** What lasted for so long was no failure to start. */
const LASTED_MS = 30_000;
/** How long it may take to leave its job in order. */
const STOP_MS = 15_000;

export interface WorkerBesideOptions {
  /** Arguments of Node. */
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  readonly onWarning: (message: string) => void;
}

export class WorkerBeside implements AsyncDisposable {
  #child: ChildProcess | undefined;
  #timer: NodeJS.Timeout | undefined;
  #wait = FIRST_MS;
  #ended = false;
  #exited: Promise<void> = Promise.resolve();

  constructor(private readonly options: WorkerBesideOptions) {
    this.#start();
  }

  /** Undefined while it is being started again. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** What is wrong with it, in words that follow "got that"; undefined where nothing is. */
  get trouble(): string | undefined {
    return this.#child ? undefined : "the worker is being started again";
  }

  #start(): void {
    const began = Date.now();
    const { args, env = process.env, onWarning } = this.options;
    // Its input is never written to: it ends when this process does, however that ends, and the worker sees that.
    const child = spawn(process.execPath, args, { env, stdio: ["pipe", "inherit", "inherit"] });
    this.#child = child;
    child.stdin.on("error", () => undefined);
    this.#exited = new Promise((resolve) => {
      const gone = (why: string): void => {
        resolve();
        if (this.#child !== child) return;
        this.#child = undefined;
        if (this.#ended) return;
        if (Date.now() - began > LASTED_MS) this.#wait = FIRST_MS;
        onWarning(`[serve] the worker ended: ${why}; it is started again in ${this.#wait / 1000} s`);
        this.#timer = setTimeout(() => this.#start(), this.#wait);
        this.#wait = Math.min(2 * this.#wait, MOST_MS);
      };
      child.on("exit", (code, signal) => gone(signal ?? `exit code ${code}`));
      child.on("error", (error) => gone(error.message));
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true;
    clearTimeout(this.#timer);
    const child = this.#child;
    if (!child) return;
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
    await this.#exited;
    clearTimeout(late);
  }
}
