/** Child processes that work on films, each on one at a time. One that a file ends is replaced, and the file is told of in words. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { CogwheelError } from "../../base/errors.ts";
import { environment } from "../../video/sandbox/node-program.ts";
import { BEAT } from "../../video/sandbox/node-watch.ts";
import type { ChildAnswer, ChildRequest } from "./child-node.ts";

/** A child that has grown by so much is replaced: what its codecs kept is nobody's. */
const MOST_GROWN = 192 * 2 ** 20;
const HEAP_MEBIBYTES = 1024;
/** Beside a film itself, which is read by range. */
const MEMORY = 2 ** 31;
/** Seconds without any progress. */
const PATIENCE = 30;

const running = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

interface Job {
  readonly request: ChildRequest;
  resolve(value: Record<string, unknown>): void;
  reject(error: unknown): void;
}

export class WorkPool implements AsyncDisposable {
  readonly #waiting: Job[] = [];
  readonly #children = new Set<Child>();
  #id = 0;
  #over = false;

  constructor(readonly size: number) {}

  /** Does a task on a file. Throws a CogwheelError for what the file is to blame for. */
  async run(work: Pick<ChildRequest, "path" | "name" | "task" | "to">): Promise<Record<string, unknown>> {
    if (this.#over) throw new Error("the pool is over");
    return await new Promise((resolve, reject) => {
      const request = { ...work, id: ++this.#id, limits: { seconds: PATIENCE, memory: MEMORY } };
      this.#waiting.push({ request, resolve, reject });
      this.#next();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true;
    for (const { reject } of this.#waiting.splice(0)) reject(new Error("the pool is over"));
    await Promise.all([...this.#children].map((child) => child.end()));
  }

  #next(): void {
    if (this.#over || this.#waiting.length === 0) return;
    let free = [...this.#children].find(({ busy }) => !busy);
    if (!free && this.#children.size < this.size) {
      free = new Child((child) => {
        this.#children.delete(child);
        this.#next();
      });
      this.#children.add(free);
    }
    if (!free) return;
    free.take(this.#waiting.shift()!, () => this.#next());
  }
}

class Child {
  readonly #process: ChildProcess;
  #job: Job | undefined;
  #then: () => void = () => {};
  #said = "";
  #reason = "";
  /** Resident after its first task. */
  #fresh = 0;
  #spent = false;
  readonly #closed: Promise<void>;

  constructor(gone: (child: Child) => void) {
    const child = spawn(process.execPath, [`--max-old-space-size=${HEAP_MEBIBYTES}`, "--no-warnings", scriptPath(), String(process.pid)], {
      env: environment(),
      // 4 is where the watch says why it ended the process.
      stdio: ["ignore", "ignore", "pipe", "ipc", "pipe"],
      serialization: "advanced",
      windowsHide: true,
    });
    this.#process = child;
    running.add(child);
    this.#closed = new Promise((resolve) => {
      const over = (error?: Error): void => {
        running.delete(child);
        const job = this.#job;
        this.#job = undefined;
        gone(this);
        job?.reject(error ? notStarted(error) : this.#why(job.request));
        resolve();
      };
      child.on("close", () => over());
      child.on("error", (error) => child.pid === undefined && over(error));
    });
    (child.stderr as Readable | null)?.on("data", (chunk: Buffer) => (this.#said = (this.#said + chunk.toString()).slice(-4000)));
    (child.stdio[4] as Readable | null)?.on(
      "data",
      (chunk: Buffer) => (this.#reason = (this.#reason + chunk.toString().replaceAll(BEAT, "")).slice(0, 16)),
    );
    child.on("message", (message: ChildAnswer & { ready?: true; rss?: number }) => this.#heard(message));
  }

  get busy(): boolean {
    return this.#spent || this.#job !== undefined;
  }

  take(job: Job, then: () => void): void {
    this.#job = job;
    this.#then = then;
    this.#process.send(job.request, () => {}); // what keeps it from being sent ends the process, and is told by that
  }

  async end(): Promise<void> {
    this.#process.kill("SIGKILL");
    for (const stream of this.#process.stdio) stream?.destroy();
    await this.#closed;
  }

  #heard(message: ChildAnswer & { ready?: true; rss?: number }): void {
    const job = this.#job;
    if (message.ready || !job || message.id !== job.request.id) return;
    this.#job = undefined;
    if ("value" in message) job.resolve(message.value);
    else job.reject(Object.assign(new CogwheelError(message.room, message.rule), message.retry ? { retry: true } : {}));
    const { rss = 0 } = message;
    this.#fresh ||= rss;
    // Another takes its place when it is gone.
    if (rss - this.#fresh > MOST_GROWN) {
      this.#spent = true;
      void this.end();
    } else this.#then();
  }

  #why({ name, limits }: ChildRequest): CogwheelError {
    const reason = this.#reason;
    if (reason === "stalled")
      return Object.assign(
        new CogwheelError("scan", `${name} must be read further within ${limits.seconds} s, got no progress; convert it, or remove it`),
        // The machine may have been busy, or a disk of a network away.
        { twice: true },
      );
    if (reason === "memory" || /heap out of memory/i.test(this.#said))
      return new CogwheelError("scan", `${name} must be read in ${limits.memory / 2 ** 30} GiB of memory, got more; convert it, or cut it`);
    const { exitCode, signalCode } = this.#process;
    const error = new CogwheelError(
      "scan",
      `${name} must be a file that can be read, ` +
        `got one on which its process ended with ${signalCode ?? `exit code ${exitCode}`}; convert it`,
      this.#said.trim() ? { cause: new Error(this.#said.trim()) } : {},
    );
    // Somebody's SIGKILL, or the system's for want of memory, says nothing of the file.
    return signalCode === "SIGKILL" ? Object.assign(error, { retry: true }) : error;
  }
}

const notStarted = (error: Error): CogwheelError =>
  new CogwheelError("scan", `films are read in processes of their own, which must start, got ${error.message}; allow more processes`);

const PLACES = ["./cogwheel-curation.js", "../cogwheel-curation.js", "../../../dist/cogwheel-curation.js"];

/** The script lies beside the bundle of the package, or beside the folder of its chunks; in a checkout in dist/. */
function scriptPath(): string {
  const found = PLACES.map((place) => fileURLToPath(new URL(place, import.meta.url))).find((path) => existsSync(path));
  if (found) return found;
  throw new CogwheelError("scan", "films are read by dist/cogwheel-curation.js of this package, got none; install the package anew");
}
