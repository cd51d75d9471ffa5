/**
 * Jobs on a NATS server with JetStream, for several machines. The packages of its client are loaded by who connects (nats-node.ts,
 * nats-page.ts), and only an app that names such a server needs them.
 *
 * | what | where |
 * | --- | --- |
 * | values | the key-value bucket `cogwheel_jobs`: compare-and-set by the sequence of a key's last message |
 * | blobs | the stream `cogwheel_blobs`: pieces of half a megabyte, then a message that says how many |
 * | hints | the work-queue stream `cogwheel_hints`, one message a job at most, and the consumer `workers` |
 *
 * On a cluster of servers each message is with three of them, so that one may be gone; reads then go to the one that leads, as another may
 * not have the newest yet.
 *
 * Hints have no most deliveries: with those, servers lost messages (nats-server 7817), and how often a job was begun stands in its value.
 * A write that a broken connection left unanswered is made again; where it was there already, the value itself tells.
 */
import type { Consumer, JetStreamClient, JetStreamManager, JsMsg, StreamConfig } from "@nats-io/jetstream";
import type { KV } from "@nats-io/kv";
import type { NatsConnection } from "@nats-io/nats-core";
import { CogwheelError } from "../base/errors.ts";
import { pause } from "../base/pause.ts";
import type { Blobs, Change, Entry, Hint, Hints, JobBackend, KeyValues } from "./backend.ts";
import { checkKey, checkValue } from "./keys.ts";
import { apiCode, patiently } from "./nats-patience.ts";

const [BUCKET, BLOBS, HINTS, CONSUMER] = ["cogwheel_jobs", "cogwheel_blobs", "cogwheel_hints", "workers"];
/** The first version whose stores survive a kill, and which has all that is used here. */
const VERSION = [2, 12] as const;
/** Bytes of a message: servers take a megabyte at most where they are not told otherwise. */
const PIECE = 512 * 1024;
const AT_ONCE = 4;
/** A hint that nobody says is being worked on is given to another after so long. */
const CLAIM_MS = 30_000;
/** What a call waits for. */
export const WAIT_MS = 5_000;

/** What the client's packages have. */
interface Client {
  readonly connection: NatsConnection;
  readonly js: JetStreamClient;
  readonly jsm: JetStreamManager;
  readonly kv: KV;
  /** May any server that has a stream answer what is in it? */
  readonly direct: boolean;
  readonly updatesOnly: NonNullable<NonNullable<Parameters<KV["watch"]>[0]>["include"]>;
}

/** The client's packages beside the one that connects. */
export async function loadStores() {
  const [jetstream, kv] = await Promise.all([import("@nats-io/jetstream"), import("@nats-io/kv")]);
  return { jetstream: exportsOf(jetstream), kv: exportsOf(kv) };
}

/** These packages are CommonJS: bundlers for pages leave all that they export in `default`. */
export const exportsOf = <T extends object>(loaded: T): T => (loaded as { default?: T }).default ?? loaded;

type Stores = Awaited<ReturnType<typeof loadStores>>;

export interface OpenedOptions {
  /** For people, without credentials. */
  readonly name: string;
  /** Are streams, bucket and consumer made where they are not there? Who may not make any uses what is there. */
  readonly makes: boolean;
  readonly onWarning: (message: string) => void;
}

/** Jobs on a connection, which is closed with them, or at once where the server will not do. */
export async function openConnected(stores: Stores, connection: NatsConnection, options: OpenedOptions): Promise<JobBackend> {
  const { name } = options;
  try {
    const [major = 0, minor = 0] = (connection.info?.version ?? "").split(".").map(Number);
    if (major < VERSION[0] || (major === VERSION[0] && minor < VERSION[1]))
      throw new CogwheelError(
        "jobs",
        `a NATS server must be ${VERSION.join(".")} or newer, got ${connection.info?.version ?? "none"} at ${name}: ` +
          "older ones lost what they had acknowledged; install a newer one (docs/scale-out.md)",
      );
    return await (options.makes ? made(stores, connection, options) : found(stores, connection, options));
  } catch (error) {
    await connection.close();
    if (error instanceof CogwheelError) throw error;
    throw new CogwheelError(
      "jobs",
      `a NATS server must have JetStream, and its streams the settings of this version, got ${(error as Error).message} at ${name}; ` +
        (options.makes
          ? `start it with \`jetstream\` in its configuration, or delete the streams ${BLOBS} and ${HINTS} and the bucket ${BUCKET}`
          : "start a worker on this queue in Node first, which makes them, and look at the rights of this user (docs/scale-out.md)"),
      { cause: error },
    );
  }
}

/** Streams, bucket and consumer as they are there. */
async function found({ jetstream, kv: kvs }: Stores, connection: NatsConnection, { name }: OpenedOptions): Promise<JobBackend> {
  const js = jetstream.jetstream(connection, { timeout: WAIT_MS });
  const jsm = await jetstream.jetstreamManager(connection, { timeout: WAIT_MS, checkAPI: false });
  const direct = (await jsm.streams.info(BLOBS)).config.allow_direct;
  const kv = await new kvs.Kvm(js).open(BUCKET, { allow_direct: direct });
  return new NatsBackend(name, { connection, js, jsm, kv, direct, updatesOnly: kvs.KvWatchInclude.UpdatesOnly });
}

/** Streams, bucket and consumer, made where they are not there. */
async function made({ jetstream, kv: kvs }: Stores, connection: NatsConnection, { name, onWarning }: OpenedOptions): Promise<JobBackend> {
  const { jetstream: clientOf, jetstreamManager, AckPolicy, DiscardPolicy, RetentionPolicy, StorageType } = jetstream;
  const js = clientOf(connection, { timeout: WAIT_MS });
  // A cluster that has just begun chooses its leaders first.
  const jsm = await patiently(() => jetstreamManager(connection, { timeout: WAIT_MS }), false);
  const replicas = await replicasOf(connection, jsm);
  const direct = replicas === 1;
  const kv = await patiently(() => new kvs.Kvm(js).create(BUCKET, { history: 1, replicas, allow_direct: direct }));
  await checkBucket(jsm);
  const common = { storage: StorageType.File, max_msgs_per_subject: 1, allow_direct: direct, num_replicas: replicas };
  const streams: (Partial<StreamConfig> & { name: string })[] = [
    { ...common, name: BLOBS, subjects: [`${BLOBS}.>`], retention: RetentionPolicy.Limits, discard: DiscardPolicy.Old },
    {
      ...common,
      ...{ name: HINTS, subjects: [`${HINTS}.*`], retention: RetentionPolicy.Workqueue },
      // A hint that is there is enough: another of the same job is refused.
      ...{ discard: DiscardPolicy.New, discard_new_per_subject: true },
    },
  ];
  for (const stream of streams) await patiently(() => jsm.streams.add(stream));
  const consumer = { durable_name: CONSUMER, ack_policy: AckPolicy.Explicit, ack_wait: CLAIM_MS * 1e6, max_deliver: -1 };
  await patiently(() => jsm.consumers.add(HINTS, consumer));
  await tellIfLate(connection, onWarning);
  return new NatsBackend(name, { connection, js, jsm, kv, direct, updatesOnly: kvs.KvWatchInclude.UpdatesOnly });
}

/** A bucket that is there already is taken as it is, unlike streams: one that forgets would lose jobs. */
async function checkBucket(jsm: JetStreamManager): Promise<void> {
  const { storage, max_age: age } = (await patiently(() => jsm.streams.info(`KV_${BUCKET}`))).config;
  if (storage !== "file" || age > 0)
    throw new Error(
      `a bucket ${BUCKET} in ${storage === "file" ? "files" : "memory"}${age > 0 ? ` that forgets after ${age / 1e9} s` : ""}`,
    );
}

/** Servers that have each message: what is there already stays as it is. */
async function replicasOf(connection: NatsConnection, jsm: JetStreamManager): Promise<number> {
  const there = await patiently(() => jsm.streams.info(BLOBS).catch(ifGone));
  return there?.config.num_replicas ?? (connection.info?.cluster ? 3 : 1);
}

/** Servers acknowledge a write before it is with the disk, and say so only to whoever may ask for their settings. */
async function tellIfLate(connection: NatsConnection, onWarning: (message: string) => void): Promise<void> {
  const answer = await connection.request("$SYS.REQ.SERVER.PING.JSZ", '{"config":true}', { timeout: 500 }).catch(() => undefined);
  const { data } = (answer?.json<{ data?: { config?: { sync_always?: boolean } } }>() ?? {}) as {
    data?: { config?: { sync_always?: boolean } };
  };
  if (data?.config?.sync_always) return;
  onWarning(
    `[jobs] a NATS server should write what it acknowledges at once, got ${data ? "another setting" : "one that does not say"}; ` +
      "set `sync_interval: always` in its jetstream block, or a power failure may lose the last two minutes",
  );
}

class NatsBackend implements JobBackend {
  readonly values: KeyValues;
  readonly blobs: Blobs;
  readonly hints: Hints;

  constructor(
    readonly name: string,
    private readonly client: Client,
  ) {
    this.values = new NatsValues(client);
    this.blobs = new NatsBlobs(client);
    this.hints = new NatsHints(client);
  }

  async now(): Promise<number> {
    const { ts } = await patiently(() => this.client.jsm.streams.info(BLOBS));
    return ts === undefined ? Date.now() : Date.parse(ts);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.connection.drain();
  }
}

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, i) => byte === b[i]);

/** "wrong last sequence", and the same of replicated streams. */
const isOutrun = (error: unknown): boolean => [10071, 10164].includes(apiCode(error) ?? 0) || /wrong last sequence/.test(String(error));

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

/** The subjects that may have keys with this beginning. */
const filterOf = (prefix: string): string => `${prefix.slice(0, prefix.lastIndexOf(".") + 1)}>`;

class NatsValues implements KeyValues {
  constructor(private readonly client: Client) {}

  async get(key: string): Promise<Entry | undefined> {
    checkKey(key, "a key");
    const found = await patiently(() => this.client.kv.get(key));
    return found?.operation === "PUT" ? { value: found.value, revision: found.revision } : undefined;
  }

  async keys(prefix: string): Promise<string[]> {
    const filter = filterOf(prefix);
    return await patiently(async () => {
      const last = await this.#last(filter);
      // The client takes this one too, which its types leave out.
      const named = { key: filter, headers_only: true };
      const entries = await all(await this.client.kv.history(named));
      if (last > 0 && entries.every(({ revision }) => revision < last))
        throw new Error(`the server that lists ${filter} is not available yet`);
      const names = entries.filter(({ operation }) => operation === "PUT").map(({ key }) => key);
      return [...new Set(names)].filter((name) => name.startsWith(prefix)).sort();
    });
  }

  /**
   * The sequence of the last message of these subjects, as the one that leads has it; 0 where there is none. A cluster gives a listing to
   * any of its servers, and one that has just come back may have but the beginning, or nothing.
   */
  async #last(filter: string): Promise<number> {
    const { direct, jsm } = this.client;
    if (direct) return 0;
    const message = await jsm.streams.getMessage(`KV_${BUCKET}`, { last_by_subj: `$KV.${BUCKET}.${filter}` }).catch(ifGone);
    return message?.seq ?? 0;
  }

  async put(key: string, value: Uint8Array, expected: number): Promise<number | undefined> {
    checkKey(key, "a key");
    checkValue(key, value);
    const { kv } = this.client;
    return await patiently(async (again) => {
      try {
        return await (expected === 0 ? kv.create(key, value) : kv.update(key, value, expected));
      } catch (error) {
        if (!isOutrun(error)) throw error;
        const there = again ? await this.get(key) : undefined;
        return there && there.revision > expected && sameBytes(there.value, value) ? there.revision : undefined;
      }
    });
  }

  async delete(key: string, expected: number): Promise<boolean> {
    if (expected === 0) return false;
    checkKey(key, "a key");
    return await patiently(async (again) => {
      try {
        await this.client.kv.delete(key, { previousSeq: expected });
        return true;
      } catch (error) {
        if (!isOutrun(error)) throw error;
        return again && (await this.get(key)) === undefined;
      }
    });
  }

  async *watch(prefix: string, signal: AbortSignal): AsyncGenerator<Change, void> {
    const { kv, updatesOnly } = this.client;
    const changes = await patiently(() => kv.watch({ key: filterOf(prefix), include: updatesOnly }));
    const stop = (): void => changes.stop();
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    try {
      for await (const { key, value, revision, operation } of changes)
        if (key.startsWith(prefix)) yield { key, entry: operation === "PUT" ? { value, revision } : undefined };
    } finally {
      signal.removeEventListener("abort", stop);
      stop();
    }
  }
}

/** What a call gives that finds nothing any more. */
function ifGone(error: unknown): null {
  if (apiCode(error) === 404 || /404|not found|no message/i.test((error as Error).message)) return null;
  throw error;
}

/** The last message of a subject; null where there is none. */
const messageOf = async ({ jsm, direct }: Client, stream: string, subject: string) =>
  await patiently(() => (direct ? jsm.direct : jsm.streams).getMessage(stream, { last_by_subj: subject })).catch(ifGone);

/** What the last message of a blob says. */
interface Manifest {
  readonly bytes: number;
  readonly version: string;
}

class NatsBlobs implements Blobs {
  constructor(private readonly client: Client) {}

  /** A name's dots would be levels of a subject: a blob `a` must not be taken for the level above `a.b`. */
  #subject(name: string, part: string): string {
    checkKey(name, "the name of a blob");
    return `${BLOBS}.${name.replaceAll(".", "=")}.${part}`;
  }

  async put(name: string, bytes: Uint8Array): Promise<void> {
    const { js, jsm } = this.client;
    const version = crypto.randomUUID();
    let first: number | undefined;
    for (let at = 0; at < bytes.length; at += PIECE) {
      const piece = bytes.subarray(at, at + PIECE);
      const { seq } = await patiently(() => js.publish(this.#subject(name, `piece.${version}.${at / PIECE}`), piece));
      first ??= seq;
    }
    const manifest: Manifest = { bytes: bytes.length, version };
    const { seq } = await patiently(() => js.publish(this.#subject(name, "manifest"), JSON.stringify(manifest)));
    // What came before, and what a killed process left of its attempt.
    await patiently(() => jsm.streams.purge(BLOBS, { filter: this.#subject(name, "piece.>"), seq: first ?? seq }));
  }

  async #manifest(name: string): Promise<Manifest | undefined> {
    return (await messageOf(this.client, BLOBS, this.#subject(name, "manifest")))?.json<Manifest>();
  }

  /**
   * A server that is killed forgets which messages newer ones of their subject replaced: behind a deleted manifest one of those stands
   * again then. The pieces of that one stay gone.
   */
  async size(name: string): Promise<number | undefined> {
    const manifest = await this.#manifest(name);
    if (!manifest || manifest.bytes === 0) return manifest?.bytes;
    return (await messageOf(this.client, BLOBS, this.#subject(name, `piece.${manifest.version}.0`))) ? manifest.bytes : undefined;
  }

  async get(name: string, begin = 0, end = Number.POSITIVE_INFINITY): Promise<Uint8Array | undefined> {
    for (let manifest = await this.#manifest(name); manifest; ) {
      const read = await this.#read(name, manifest, begin, end);
      if (read) return read;
      // It was replaced meanwhile; or two wrote it at once, and it is none.
      const next = await this.#manifest(name);
      if (next?.version === manifest.version) return undefined;
      manifest = next;
    }
    return undefined;
  }

  async #read(name: string, { bytes, version }: Manifest, begin: number, end: number): Promise<Uint8Array | undefined> {
    const from = Math.min(Math.max(begin, 0), bytes);
    const into = new Uint8Array(Math.max(0, Math.min(end, bytes) - from));
    if (into.length === 0) return into;
    const last = Math.floor((from + into.length - 1) / PIECE);
    for (let at = Math.floor(from / PIECE); at <= last; at += AT_ONCE) {
      const numbers = Array.from({ length: Math.min(AT_ONCE, last - at + 1) }, (_, n) => at + n);
      const pieces = await Promise.all(numbers.map((n) => messageOf(this.client, BLOBS, this.#subject(name, `piece.${version}.${n}`))));
      for (const [n, piece] of pieces.entries()) {
        if (!piece) return undefined;
        const start = (at + n) * PIECE;
        const part = piece.data.subarray(Math.max(0, from - start), from + into.length - start);
        into.set(part, Math.max(0, start - from));
      }
    }
    return into;
  }

  async delete(name: string): Promise<void> {
    await patiently(() => this.client.jsm.streams.purge(BLOBS, { filter: this.#subject(name, ">") }));
  }
}

class NatsHints implements Hints {
  constructor(private readonly client: Client) {}

  async push(job: string, { lost = false } = {}): Promise<void> {
    checkKey(job, "a key");
    const subject = `${HINTS}.${job.replaceAll(".", "=")}`;
    // The message of a taker that is gone would stand in the way until the server gives it to another.
    if (lost) await this.#remove(subject);
    await patiently(() => this.client.js.publish(subject, job)).catch((error: unknown) => {
      if (apiCode(error) !== 10077 && !/maximum messages per subject/.test((error as Error).message)) throw error;
    });
  }

  /** One message by its number: a purge would make the server forget which other messages were given back. */
  async #remove(subject: string): Promise<void> {
    const there = await messageOf(this.client, HINTS, subject);
    if (there) await patiently(() => this.client.jsm.streams.deleteMessage(HINTS, there.seq, false)).catch(ifGone);
  }

  async pull(signal: AbortSignal): Promise<Hint> {
    const consumer = await patiently(() => this.client.js.consumers.get(HINTS, CONSUMER));
    for (;;) {
      signal.throwIfAborted();
      const next = one(consumer).catch(async (error: unknown) => {
        // A server that is away, or starts, is asked again.
        if (this.client.connection.isClosed()) throw error;
        await pause(500, signal);
        return null;
      });
      let stop!: () => void;
      const stopped = new Promise<undefined>((resolve) => {
        stop = () => resolve(undefined);
        signal.addEventListener("abort", stop, { once: true });
      });
      const message = await Promise.race([next, stopped]);
      signal.removeEventListener("abort", stop);
      if (message === undefined) void next.then((late) => late?.nak()).catch(() => undefined);
      if (message) return hintOf(message);
    }
  }
}

/**
 * The next message, or null after a while. The server gives a message to the request that has waited longest: were each soon over, a worker
 * that has just given a hint back could have it again and again, before those who can use it. Heartbeats tell of a server that forgot.
 */
async function one(consumer: Consumer): Promise<JsMsg | null> {
  const messages = await consumer.fetch({ max_messages: 1, expires: 30_000, idle_heartbeat: 1000 });
  for await (const message of messages) return message;
  return null;
}

const hintOf = (message: JsMsg): Hint => ({
  job: message.string(),
  working: async () => message.working(),
  done: async () => message.ack(),
  release: async (delayMs = 0) => message.nak(delayMs),
});
