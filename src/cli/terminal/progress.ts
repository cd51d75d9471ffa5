/**
 * How far a long run is: on a terminal one line that is drawn again, elsewhere a plain line now and then. What is drawn goes
 * to standard error, so that standard output holds results only.
 */
import type { OverallProgress } from "../../pipelines/overall.ts";
import { asCalled } from "./called.ts";
import { cut, shortenedLines, visible, visibleJson } from "../../base/visible.ts";

/** What is needed of a stream; process.stderr is one. */
export interface ProgressStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

export interface ProgressOptions {
  /** Default: process.stderr. */
  stream?: ProgressStream;
  /** Milliseconds now; for tests. */
  now?: () => number;
  /**
   * `bar`: a line that is drawn again on a terminal, plain lines elsewhere; `json`: an object on a line for each report, note and end of
   * a stage; `none`: notes alone. Default: bar.
   */
  mode?: ProgressMode;
}

export type ProgressMode = "bar" | "json" | "none";

/** A terminal is drawn on so often at most, and a plain line written so seldom at least. */
const REDRAW_MS = 100;
const LINE_MS = 15_000;
/** The speed is that of the last so many reports: the first ones hold the compilation of shaders. */
const WINDOW = 6;

interface Stage {
  name: string;
  begun: number;
  done: number;
  detail: string;
  /** Of all stages together. */
  all: OverallProgress | undefined;
  reports: { at: number; done: number }[];
}

export class Progress implements Disposable {
  readonly #stream: ProgressStream;
  readonly #now: () => number;
  readonly #live: boolean;
  readonly #mode: ProgressMode;
  readonly #finished: { name: string; seconds: number }[] = [];
  #stage: Stage | undefined;
  #written = -Infinity;
  #drawn = false;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor({ stream = process.stderr, now = () => performance.now(), mode = "bar" }: ProgressOptions = {}) {
    this.#stream = stream;
    this.#now = now;
    this.#mode = mode;
    this.#live = mode === "bar" && stream.isTTY === true && process.env["TERM"] !== "dumb";
  }

  /** Tells how much of a stage is done, 0 to 1; naming another stage ends the one before. `detail` is shown behind it. */
  report(name: string, done: number, detail = "", all?: OverallProgress): void {
    if (!this.#stage && done >= 1 && this.#finished.at(-1)?.name === name) return; // told once more that it is over
    if (this.#stage?.name !== name) this.#begin(name);
    const stage = this.#stage!;
    const at = this.#now();
    if (done > stage.done || stage.reports.length === 0) stage.reports.push({ at, done });
    if (stage.reports.length > WINDOW) stage.reports.shift();
    stage.done = Math.min(1, Math.max(stage.done, done));
    stage.detail = cut(visible(detail), 200);
    stage.all = all;
    if (stage.done >= 1) this.#end();
    else this.#show();
  }

  /** Writes what is good to know, where progress is shown to people. */
  say(text: string): void {
    if (this.#mode === "bar") this.note(text);
  }

  /** Writes a line for good, above the bar. */
  note(text: string): void {
    if (this.#mode === "json") {
      this.#tell({ note: asCalled(text) });
      return;
    }
    this.#clear();
    this.#stream.write(`${shortenedLines(asCalled(text))}\n`);
    if (this.#live && this.#stage) this.#draw();
  }

  /** Seconds a stage; a stage that came twice is counted as one. */
  get seconds(): Record<string, number> {
    const all: Record<string, number> = {};
    for (const { name, seconds } of this.#finished) all[name] = (all[name] ?? 0) + seconds;
    return all;
  }

  /** Takes an unfinished bar off the terminal. */
  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#clear();
    this.#stage = undefined;
  }

  #begin(name: string): void {
    if (this.#stage) this.#end();
    const begun = this.#now();
    this.#stage = { name, begun, done: 0, detail: "", all: undefined, reports: [] };
    this.#written = this.#live || this.#mode === "json" ? -Infinity : begun;
    // The time that is left runs down between reports too.
    if (this.#live) this.#timer ??= setInterval(() => this.#stage && this.#draw(), 1000).unref();
  }

  #end(): void {
    const { name, begun } = this.#stage!;
    const seconds = (this.#now() - begun) / 1000;
    this.#finished.push({ name, seconds });
    this.#clear();
    this.#stage = undefined;
    if (this.#mode === "json") this.#tell({ stage: name, done: 1, seconds });
    if (this.#mode === "bar") this.#stream.write(`${name.padEnd(18)} ${duration(seconds)}\n`);
  }

  /** An object on a line of its own. */
  #tell(what: object): void {
    this.#stream.write(`${visibleJson(what)}\n`);
  }

  #show(): void {
    if (this.#mode === "none") return;
    if (this.#now() - this.#written < (this.#live || this.#mode === "json" ? REDRAW_MS : LINE_MS)) return;
    if (this.#mode === "json") {
      this.#written = this.#now();
      const { name, done, detail, all } = this.#stage!;
      const secondsLeft = this.#left();
      this.#tell({
        ...{ stage: name, done, ...(detail ? { detail } : {}), ...(secondsLeft === undefined ? {} : { secondsLeft }) },
        ...(all ? { all } : {}),
      });
      return;
    }
    if (this.#live) this.#draw();
    else {
      this.#written = this.#now();
      this.#stream.write(`${this.#words().join("  ")}\n`);
    }
  }

  #words(): string[] {
    const { name, done, detail, all } = this.#stage!;
    const left = this.#left();
    return [
      name.padEnd(18),
      `${String(Math.floor(100 * done)).padStart(3)} %`,
      ...(left === undefined ? [] : [`${duration(left)} left`]),
      ...(detail ? [detail] : []),
      ...(all?.secondsLeft === undefined ? [] : [`in all ${Math.floor(100 * all.overall)} %, ${duration(all.secondsLeft)} left`]),
    ];
  }

  /** Seconds until the stage's end, at the speed of the last reports. */
  #left(): number | undefined {
    const { reports, begun, done } = this.#stage!;
    const last = reports.at(-1)!;
    const first = reports.length > 1 ? reports[0]! : { at: begun, done: 0 };
    const gained = last.done - first.done;
    if (gained <= 0 || done <= 0) return undefined;
    const each = (last.at - first.at) / gained;
    return Math.max(0, (each * (1 - done) - (this.#now() - last.at)) / 1000);
  }

  #draw(): void {
    this.#written = this.#now();
    const [name, ...rest] = this.#words();
    const columns = this.#stream.columns || 80;
    const text = rest.join("  ");
    const room = Math.min(30, columns - name!.length - text.length - 6);
    const filled = Math.round(room * this.#stage!.done);
    const bar = room >= 6 ? `${"━".repeat(filled)}${"╌".repeat(room - filled)}  ` : "";
    const line = [...`${name} ${bar}${text}`].slice(0, columns - 1).join("");
    this.#stream.write(`\r${line}\x1b[K`);
    this.#drawn = true;
  }

  #clear(): void {
    if (this.#drawn) this.#stream.write("\r\x1b[K");
    this.#drawn = false;
  }
}

/** 8.3 s, 2 min 05 s, 3 h 07 min, 57 days */
export function duration(seconds: number): string {
  if (seconds < 59.95) return `${seconds.toFixed(seconds < 9.95 ? 1 : 0)} s`;
  const whole = Math.round(seconds);
  const two = (value: number): string => String(value).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  const minutes = Math.round(whole / 60);
  if (minutes >= 72 * 60) return `${Math.round(minutes / 60 / 24)} days`;
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}
