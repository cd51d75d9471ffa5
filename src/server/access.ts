/** Who may ask, and for how much at a time. */
import type { JobRequest } from "../jobs/job.ts";
import { isOver } from "../jobs/store.ts";
import type { JobBoard } from "./board.ts";
import { ApiError } from "./errors.ts";
import type { Key, Keys } from "./keys.ts";

/**
 * Without keys anybody may ask who can reach the server, which is this machine alone; so a page elsewhere must not, whether by a name that
 * was made to point here or by a form that it sends. Throws for such requests.
 */
export function refuseStrangers(request: Request): void {
  refuseHost(request);
  const host = request.headers.get("host") ?? "";
  const origin = request.headers.get("origin");
  const from = origin === null || !URL.canParse(origin) ? origin : new URL(origin).host;
  if ((from !== null && from !== host) || request.headers.get("sec-fetch-site") === "cross-site")
    throw new ApiError(403, "cross_site", "a server without keys answers no page of another site, got a request of one; add a key");
}

/** Is a request for this machine, by the name that its client asked for? */
export const isOwnHost = (host: string): boolean => /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/i.test(host);

/** The half of it that holds for pages too, which others may link to. */
export function refuseHost(request: Request): void {
  const host = request.headers.get("host") ?? "";
  if (!isOwnHost(host))
    throw new ApiError(
      403,
      "wrong_host",
      `a server without keys answers to localhost alone, got host ${JSON.stringify(host.slice(0, 100))}; add a key`,
    );
}

/** The key of a request, of a server that asks for keys. */
export async function keyOf(request: Request, keys: Keys): Promise<Key> {
  const header = request.headers.get("authorization");
  const [, shown] = /^Bearer +(\S{1,200}) *$/i.exec(header ?? "") ?? [];
  const key = shown === undefined ? undefined : await keys.find(shown);
  if (key) return key;
  throw new ApiError(
    401,
    "invalid_api_key",
    `a request must show a key of this server, got ${header === null ? "none" : "another"}; ` +
      "send Authorization: Bearer cw_… (cogwheel serve keys add)",
  );
}

/** Requests that are being answered, by key. */
export class InFlight {
  readonly #counts = new Map<string, number>();

  /** Counts one until disposed of, once. Throws where the key has as many as it may. */
  enter({ digest, limits }: Key): Disposable {
    const count = this.#counts.get(digest) ?? 0;
    if (limits.requests !== undefined && count >= limits.requests)
      throw new ApiError(429, "too_many_requests", `this key may have ${limits.requests} requests at a time, got one more; wait for them`, {
        retryAfter: 1,
      });
    this.#counts.set(digest, count + 1);
    let over = false;
    return {
      [Symbol.dispose]: () => {
        if (over) return;
        over = true;
        const left = this.#counts.get(digest)! - 1;
        if (left > 0) this.#counts.set(digest, left);
        else this.#counts.delete(digest);
      },
    };
  }
}

/** What of a job counts. */
export interface SizedJob {
  readonly request: Pick<JobRequest, "width" | "height" | "frames">;
}

const pixelsOf = ({ request: { width = 0, height = 0, frames = 0 } }: SizedJob): number => width * height * frames;

/** One after another, so that what was counted still holds when a job is made. */
export class Admission {
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly board: JobBoard,
    /** Jobs of all keys that may wait or be worked on. */
    private readonly most: number,
  ) {}

  /** Runs `make` where the key may have one more job. */
  async admit<T>(key: Key, asked: SizedJob, make: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(async () => {
      this.#check(key, asked);
      return await make();
    });
    this.#last = turn.catch(() => undefined);
    return await turn;
  }

  #check({ digest, limits }: Key, asked: SizedJob): void {
    const pixels = pixelsOf(asked);
    if (limits.pixels !== undefined && pixels > limits.pixels)
      throw new ApiError(
        400,
        "too_many_pixels",
        `a video of this key may have ${limits.pixels} pixels in all frames, got ${pixels}; ask for a smaller size or fewer frames`,
        {
          param: "size",
        },
      );
    const open = [...this.board.jobs()].filter((job) => !isOver(job));
    const own = open.filter((job) => job.owner === digest);
    // When the first of them is done, as far as that is known.
    const known = own.flatMap((job) => (job.secondsLeft === undefined ? [] : [job.secondsLeft]));
    const retryAfter = known.length ? Math.min(...known) : 10;
    const full = (rule: string): never => {
      throw new ApiError(429, "queue_full", rule, { retryAfter });
    };
    if (open.length >= this.most) full(`this server takes ${this.most} jobs that wait or run, got one more; try again later`);
    if (limits.jobs !== undefined && own.length >= limits.jobs)
      full(`this key may have ${limits.jobs} jobs that wait or run, got one more; wait for one`);
    const sum = own.reduce((total, job) => total + pixelsOf(job), pixels);
    if (limits.pixels !== undefined && sum > limits.pixels)
      full(`the jobs of this key may have ${limits.pixels} pixels together, got ${sum}; wait for one of them`);
  }
}
