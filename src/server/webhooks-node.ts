/**
 * Tells of ended jobs, to the address that a job was made with, by Standard Webhooks. What was delivered is kept with the jobs: after a
 * restart the rest is delivered, and never what was. Whoever answers too late may hear of a job twice, with the same `webhook-id`.
 */
import { lookup } from "node:dns/promises";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { BlockList, isIP } from "node:net";
import { Webhook } from "standardwebhooks";
import type { JobBackend } from "../jobs/backend.ts";
import type { Job } from "../jobs/job.ts";
import { readRecord, writeRecord } from "../jobs/records.ts";
import { isOver } from "../jobs/store.ts";
import type { JobBoard } from "./board.ts";
import { invalid } from "./errors.ts";
import type { Keys } from "./keys.ts";

/** Seconds between tries; then it is given up. */
const WAITS = [1, 5, 30, 120, 600, 3600, 3 * 3600, 10 * 3600];
const PREFIX = "webhook.";
const ANSWER_MS = 10_000;
/** Deliveries at a time. */
const AT_A_TIME = 8;

const PRIVATE = new BlockList();
for (const [net, bits] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 3],
] as const)
  PRIVATE.addSubnet(net, bits, "ipv4");

/** Is it an address of this machine, of a network that is not the public one, or of none? Of IPv6 only what is given out is public. */
export function isPrivate(address: string): boolean {
  if (isIP(address) === 4) return PRIVATE.check(address, "ipv4");
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped) return isPrivate(mapped);
  // 2000::/3, without what carries an IPv4 address (6to4, Teredo) or documents.
  return !/^[23]/.test(address) || !/^[23][0-9a-f]{3}:/i.test(address) || /^(2002|2001:0?:|2001:0*db8|2001::)/i.test(address);
}

/** Throws where a webhook's address cannot be one. */
export function checkWebhook(address: string, allowPrivate: boolean): void {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password)
    throw invalid(`a webhook must be an http or https address without a password, got ${JSON.stringify(address.slice(0, 200))}`, "webhook");
  const host = url.hostname.replace(/^\[|\]$/g, "");
  if (!allowPrivate && (isIP(host) ? isPrivate(host) : /(^|\.)(localhost|internal|local)$/i.test(host)))
    throw invalid(
      `a webhook must be on the public network, got ${JSON.stringify(host.slice(0, 200))}; ` +
        "start the server with --private-webhooks to allow others",
      "webhook",
    );
}

export interface WebhookOptions {
  readonly backend: JobBackend;
  readonly board: JobBoard;
  readonly keys: Keys;
  /** May addresses of this machine and its networks be called? */
  readonly allowPrivate: boolean;
  readonly onWarning: (message: string) => void;
}

interface Delivery {
  readonly tries: number;
  readonly at: number;
  readonly done?: "delivered" | "given up";
}

export class Webhooks implements AsyncDisposable {
  readonly #ended = new AbortController();
  readonly #due: string[] = [];
  readonly #known = new Set<string>();
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #running = new Set<Promise<void>>();
  readonly #listening: Disposable;

  constructor(private readonly options: WebhookOptions) {
    const { board } = options;
    this.#listening = board.listen(undefined, (now) => {
      if (now) this.#hear(now.job);
    });
    for (const job of board.jobs()) this.#hear(job);
  }

  /** Forgets what was delivered of jobs that are gone. */
  async forget(): Promise<void> {
    const { backend, board } = this.options;
    for (const key of await backend.values.keys(PREFIX)) {
      if (board.get(key.slice(PREFIX.length))) continue;
      const entry = await backend.values.get(key);
      if (entry) await backend.values.delete(key, entry.revision);
    }
  }

  #hear(job: Job): void {
    if (job.webhook === undefined || !isOver(job) || this.#known.has(job.id)) return;
    this.#known.add(job.id);
    this.#soon(job.id, 0);
  }

  #soon(id: string, ms: number): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#due.push(id);
      this.#next();
    }, ms);
    this.#timers.add(timer);
  }

  #next(): void {
    while (this.#running.size < AT_A_TIME && this.#due.length > 0 && !this.#ended.signal.aborted) {
      const running = this.#deliver(this.#due.shift()!)
        .catch((error: unknown) => this.options.onWarning(`[serve] a webhook could not be looked after: ${(error as Error).message}`))
        .finally(() => {
          this.#running.delete(running);
          this.#next();
        });
      this.#running.add(running);
    }
  }

  async #deliver(id: string): Promise<void> {
    const { backend, board, keys, onWarning } = this.options;
    const job = board.get(id)?.job;
    const key = PREFIX + id;
    const found = await readRecord<Delivery>(backend.values, key);
    const before: Delivery = found?.record ?? { tries: 0, at: 0 };
    if (!job?.webhook || before.done) return;
    // From before a restart.
    if (before.at > Date.now()) return this.#soon(id, before.at - Date.now());
    const keep = async (now: Delivery): Promise<void> => void (await writeRecord(backend.values, key, now, found?.revision ?? 0));
    const secret = (await keys.ofOwner(job.owner))?.webhookSecret;
    if (secret === undefined) return await keep({ ...before, done: "given up" });
    const tries = before.tries + 1;
    const answer = await this.#send(job, job.webhook, secret).catch((error: unknown) => (error as Error).message);
    if (typeof answer === "number" && answer >= 200 && answer < 300) return await keep({ tries, at: Date.now(), done: "delivered" });
    if (this.#ended.signal.aborted) return;
    const wait = answer === 410 ? undefined : WAITS[tries - 1];
    const host = new URL(job.webhook).host;
    if (wait === undefined) {
      onWarning(`[serve] the webhook of ${id} at ${host} was given up after ${tries} tries: ${answer}`);
      return await keep({ tries, at: Date.now(), done: "given up" });
    }
    // Some of the wait is by chance, so that many do not come at once.
    const at = Date.now() + wait * 1000 * (0.9 + 0.2 * Math.random());
    await keep({ tries, at });
    this.#soon(id, at - Date.now());
  }

  /** @returns the status that was answered */
  async #send(job: Job, address: string, secret: string): Promise<number> {
    const url = new URL(address);
    const name = url.hostname.replace(/^\[|\]$/g, "");
    // The address that was judged is the one that is called: a name may mean another one the next time.
    const [found] = isIP(name) ? [{ address: name, family: isIP(name) }] : await lookup(name, { all: true, verbatim: true });
    if (!found) throw new Error(`${name} has no address`);
    if (!this.options.allowPrivate && isPrivate(found.address))
      throw new Error(`${name} is ${found.address}, which is not on the public network`);
    const body = JSON.stringify({
      id: `evt_${job.id}`,
      object: "event",
      type: `video.${job.status}`,
      created_at: Math.floor((job.completedAt ?? Date.now()) / 1000),
      data: { id: job.id },
    });
    const at = new Date();
    const id = `evt_${job.id}`;
    const headers = {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(body),
      "user-agent": "cogwheel",
      "webhook-id": id,
      "webhook-timestamp": String(Math.floor(at.getTime() / 1000)),
      "webhook-signature": new Webhook(secret).sign(id, at, body),
    };
    const signal = AbortSignal.any([this.#ended.signal, AbortSignal.timeout(ANSWER_MS)]);
    return await new Promise<number>((resolve, reject) => {
      const send = url.protocol === "https:" ? httpsRequest : httpRequest;
      const sent = send(
        url,
        {
          method: "POST",
          headers,
          signal,
          agent: false,
          lookup: (_host, options, done) => (options.all ? done(null, [found]) : done(null, found.address, found.family)),
        },
        (response) => {
          // What is answered does not matter, only that it was; a redirection is not followed.
          response.destroy();
          resolve(response.statusCode ?? 0);
        },
      );
      sent.on("error", reject);
      sent.end(body);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listening[Symbol.dispose]();
    this.#ended.abort();
    for (const timer of this.#timers) clearTimeout(timer);
    await Promise.all(this.#running);
  }
}
