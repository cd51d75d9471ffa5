/** A contender's process, seen from the bench: started, asked, and, when it dies, reported and started again. */
import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import { createInterface } from "node:readline";
import type { Opened, Request } from "./protocol.ts";

export interface Launch {
  readonly id: string;
  readonly command: string;
  readonly args: readonly string[];
}

export class ContenderProcess {
  #child: ChildProcessWithoutNullStreams | undefined;
  #answer: ((line: string | Error) => void) | undefined;
  #log: string[] = [];
  opened!: Opened;

  constructor(
    readonly launch: Launch,
    private readonly folder: string,
  ) {}

  async start(): Promise<Opened> {
    const child = spawn(this.launch.command, [...this.launch.args], { stdio: ["pipe", "pipe", "pipe"] });
    this.#child = child;
    const remember = (line: string) => {
      this.#log.push(line);
      if (this.#log.length > 2000) this.#log.shift();
    };
    createInterface({ input: child.stdout }).on("line", (line) => {
      if (line.startsWith("@@")) this.#answer?.(line.slice(2));
      else remember(line);
    });
    createInterface({ input: child.stderr }).on("line", remember);
    child.on("error", (error) => this.#answer?.(error));
    child.on("exit", (code, signal) => {
      this.#child = undefined;
      this.#answer?.(
        new Error(
          `its process ended with ${signal ?? `exit code ${code}`}${this.#log.length ? `: ${this.#log.slice(-3).join(" / ")}` : ""}`,
        ),
      );
    });
    child.stdin.on("error", () => undefined); // its end is told by `exit`
    return (this.opened = await this.ask<Opened>({ do: "open", folder: this.folder }));
  }

  /** The answer to a request; throws what the contender reports, or that it died. `seconds` ends a contender that hangs. */
  async ask<T>(request: Request, seconds = 900): Promise<T> {
    const child = this.#child;
    if (!child) throw new Error("its process has ended");
    const line = await new Promise<string | Error>((resolve) => {
      const timer = setTimeout(() => {
        child.kill("SIGKILL");
        resolve(new Error(`no answer to ${request.do} in ${seconds} s`));
      }, seconds * 1000);
      this.#answer = (answer) => {
        clearTimeout(timer);
        this.#answer = undefined;
        resolve(answer);
      };
      child.stdin.write(`${JSON.stringify(request)}\n`);
    });
    if (line instanceof Error) throw line;
    const answer = JSON.parse(line) as T & { error?: string };
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer;
  }

  get alive(): boolean {
    return this.#child !== undefined;
  }
  get log(): readonly string[] {
    return this.#log;
  }

  /** Ends it in the middle of whatever it does. */
  kill(): void {
    this.#child?.kill("SIGKILL");
  }

  async stop(): Promise<void> {
    const child = this.#child;
    if (!child) return;
    const ended = new Promise<void>((resolve) => child.on("exit", () => resolve()));
    child.stdin.end();
    const timer = setTimeout(() => child.kill("SIGKILL"), 5000);
    await ended;
    clearTimeout(timer);
  }
}
