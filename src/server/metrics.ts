/** What a Prometheus server is told. Names follow those of vLLM, with a prefix of their own. */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { isOver } from "../jobs/store.ts";
import type { JobBoard } from "./board.ts";
import type { Roster } from "./roster.ts";

const SECONDS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000];

export class Metrics implements Disposable {
  readonly #registry = new Registry();
  readonly #requests: Histogram<"method" | "route" | "status">;
  readonly #listening: Disposable;

  constructor(board: JobBoard, roster: Roster, version: string) {
    const registers = [this.#registry];
    const count = (status: string): number => [...board.jobs()].filter((job) => job.status === status).length;
    new Gauge({ name: "cogwheel:info", help: "The server's version", labelNames: ["version"], registers }).set({ version }, 1);
    new Gauge({
      name: "cogwheel:num_requests_running",
      help: "Jobs that are worked on",
      registers,
      collect() {
        this.set(count("in_progress"));
      },
    });
    new Gauge({
      name: "cogwheel:num_requests_waiting",
      help: "Jobs that wait",
      registers,
      collect() {
        this.set(count("queued"));
      },
    });
    new Gauge({
      name: "cogwheel:queue_age_seconds",
      help: "How long the oldest job that waits has waited",
      registers,
      collect() {
        const oldest = [...board.jobs()].find((job) => job.status === "queued");
        this.set(oldest ? Math.max(0, Date.now() - oldest.createdAt) / 1000 : 0);
      },
    });
    new Gauge({
      name: "cogwheel:workers",
      help: "Workers that were heard of lately",
      registers,
      collect() {
        this.set(roster.living.length);
      },
    });
    const ended = new Counter({
      name: "cogwheel:jobs_ended_total",
      help: "Jobs that ended while this server ran",
      labelNames: ["outcome"],
      registers,
    });
    const retries = new Counter({
      name: "cogwheel:job_retries_total",
      help: "Times that a worker went on with a job of another",
      registers,
    });
    const whole = new Histogram({
      name: "cogwheel:e2e_request_latency_seconds",
      help: "From the request to the video, of completed jobs",
      buckets: SECONDS,
      registers,
    });
    const waited = new Histogram({
      name: "cogwheel:request_queue_time_seconds",
      help: "From the request to a worker",
      buckets: SECONDS,
      registers,
    });
    const step = new Histogram({
      name: "cogwheel:step_seconds",
      help: "Of a completed job, seconds of work for each denoising step",
      buckets: [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100],
      registers,
    });
    this.#requests = new Histogram({
      name: "cogwheel:http_request_duration_seconds",
      help: "Until the head of the answer",
      labelNames: ["method", "route", "status"],
      buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5, 20],
      registers,
    });
    this.#listening = board.listen(undefined, (now, before) => {
      if (!now || !before) return;
      const { job } = now;
      if (job.attempts > before.attempts && before.attempts > 0) retries.inc(job.attempts - before.attempts);
      if (before.startedAt === undefined && job.startedAt !== undefined) waited.observe((job.startedAt - job.createdAt) / 1000);
      if (isOver(before) || !isOver(job)) return;
      ended.inc({ outcome: job.error?.code ?? job.status });
      if (job.status !== "completed" || job.completedAt === undefined) return;
      whole.observe((job.completedAt - job.createdAt) / 1000);
      if (job.startedAt !== undefined && job.steps > 0) step.observe((job.completedAt - job.startedAt) / 1000 / job.steps);
    });
  }

  /** @param route as it is defined, without ids */
  answered(method: string, route: string, status: number, seconds: number): void {
    this.#requests.observe({ method, route, status: String(status) }, seconds);
  }

  async text(): Promise<string> {
    return await this.#registry.metrics();
  }

  get type(): string {
    return this.#registry.contentType;
  }

  [Symbol.dispose](): void {
    this.#listening[Symbol.dispose]();
  }
}
