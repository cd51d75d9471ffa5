import { createHash } from "node:crypto";
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** One request as it came in. */
export interface Seen {
  /** `hub`, or `store` where large files lie. */
  at: "hub" | "store";
  method: string;
  path: string;
  range: string | undefined;
  authorization: string | undefined;
  /** Bytes of content that were sent. */
  sent: number;
}

/** A repository: revision → its commit and files. */
export interface Repo {
  revisions: Record<string, { commit: string; files: Record<string, Uint8Array> }>;
  /** Who may read it: everybody, who has the token, or who was let in by hand. */
  token?: string;
  gated?: boolean;
}

export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
export const gitSha1 = (bytes: Uint8Array): string => createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
/** Files that are kept outside of git, as large files are. */
export const isLarge = (path: string): boolean => path.endsWith(".safetensors");

/**
 * The hub's protocol on the loopback: a revision's commit, the listing in pages, and files, where large ones are a redirect to a
 * store at another origin, as at the real one. It keeps what it was asked.
 */
export class HubServer implements AsyncDisposable {
  readonly repos: Record<string, Repo> = {};
  readonly seen: Seen[] = [];
  /** Break the connection after so many bytes of a file's content; counted down to nothing once. */
  readonly cut = new Map<string, number[]>();
  /** Other bytes than the listed ones. */
  readonly instead = new Map<string, Uint8Array>();
  /** Sizes that the listing tells instead of the true ones. */
  readonly listedSize = new Map<string, number>();
  /** Answers with these statuses first. */
  readonly failures: number[] = [];
  /** Ignore Range in requests for content. */
  ranges = true;
  /** Bytes a second of content, slow enough to meet. */
  pace: (() => Promise<void>) | undefined;
  /** Entries of one page of the listing. */
  pageSize = 4;

  private constructor(
    readonly hub: Server,
    readonly store: Server,
  ) {}

  static async start(): Promise<HubServer> {
    const servers = [createServer(), createServer()] as const;
    const self = new HubServer(...servers);
    servers[0].on("request", (request, response) => void self.#hub(request, response));
    servers[1].on("request", (request, response) => void self.#store(request, response));
    for (const server of servers) await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    return self;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.hub.address() as AddressInfo).port}`;
  }

  get storeUrl(): string {
    return `http://127.0.0.1:${(this.store.address() as AddressInfo).port}`;
  }

  /** Requests for files, without the one-byte questions for where they lie. */
  get content(): Seen[] {
    return this.seen.filter(({ path, range }) => (path.includes("/resolve/") || path.startsWith("/lfs/")) && range !== "bytes=0-0");
  }

  /** Bytes of content that were sent of a file, or of all. */
  sentOf(part = ""): number {
    return this.content.filter(({ path }) => path.includes(part)).reduce((bytes, { sent }) => bytes + sent, 0);
  }

  forget(): void {
    this.seen.length = 0;
  }

  #see(at: Seen["at"], request: IncomingMessage): Seen {
    const seen: Seen = {
      at,
      method: request.method!,
      path: request.url!,
      range: request.headers.range,
      authorization: request.headers.authorization,
      sent: 0,
    };
    this.seen.push(seen);
    return seen;
  }

  async #hub(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const seen = this.#see("hub", request);
    const url = new URL(request.url!, this.url);
    const refuse = (status: number, code: string, message: string): void =>
      void response
        .writeHead(status, { "x-error-code": code, "x-error-message": message, "content-type": "application/json" })
        .end(JSON.stringify({ error: message }));
    const failure = this.failures.shift();
    if (failure) return refuse(failure, "", "later");
    const [, api, name, rest] = /^\/(api\/models\/)?([^/]+\/[^/]+)\/(.*)$/.exec(decodeURIComponent(url.pathname)) ?? [];
    const repo = this.repos[name ?? ""];
    // A stranger is not told what there is.
    if (!repo)
      return request.headers.authorization
        ? refuse(404, "RepoNotFound", "Repository not found")
        : refuse(401, "RepoNotFound", "Invalid username or password.");
    if (repo.token && request.headers.authorization !== `Bearer ${repo.token}`) {
      if (repo.gated) {
        if (!api) return refuse(request.headers.authorization ? 403 : 401, "GatedRepo", `Access to model ${name} is restricted.`);
      } else return refuse(401, "RepoNotFound", "Invalid username or password.");
    }
    const find = (revision: string) =>
      Object.entries(repo.revisions).find(([key, { commit }]) => key === revision || commit === revision)?.[1];
    const [, kind, revision = "", path = ""] =
      /^(revision|tree|resolve)\/([0-9a-f]{40}|refs\/pr\/\d+|[^/]+)(?:\/(.*))?$/.exec(rest ?? "") ?? [];
    const found = find(revision);
    if (!found) return refuse(404, "RevisionNotFound", `Invalid rev id: ${revision}`);
    const json = (value: unknown, headers: Record<string, string> = {}): void =>
      void response.writeHead(200, { "content-type": "application/json", ...headers }).end(JSON.stringify(value));
    if (kind === "revision")
      return json({
        _id: "1",
        id: name,
        private: false,
        gated: false,
        downloads: 0,
        likes: 0,
        lastModified: "2024-01-01T00:00:00.000Z",
        sha: found.commit,
      });
    if (kind === "tree") {
      const all = this.#tree(found.files);
      const at = Number(url.searchParams.get("cursor") ?? 0);
      url.searchParams.set("cursor", String(at + this.pageSize));
      return json(all.slice(at, at + this.pageSize), at + this.pageSize < all.length ? { link: `<${url.href}>; rel="next"` } : {});
    }
    const bytes = found.files[path];
    if (!bytes) return refuse(404, "EntryNotFound", "Entry not found");
    const headers = { "x-repo-commit": found.commit, "accept-ranges": "bytes" };
    if (!isLarge(path)) return this.#send(request, response, seen, path, bytes, { ...headers, etag: `"${gitSha1(bytes)}"` });
    const hash = sha256(bytes);
    response
      .writeHead(302, {
        ...headers,
        etag: `"${gitSha1(bytes)}"`,
        "x-linked-etag": `"${hash}"`,
        "x-linked-size": String(bytes.length),
        location: `${this.storeUrl}/lfs/${hash}?name=${encodeURIComponent(path)}`,
      })
      .end();
  }

  #tree(files: Record<string, Uint8Array>): unknown[] {
    const folders = new Set(
      Object.keys(files)
        .filter((path) => path.includes("/"))
        .map((path) => path.slice(0, path.lastIndexOf("/"))),
    );
    return [
      ...[...folders].map((path) => ({ type: "directory", oid: "0".repeat(40), size: 0, path })),
      ...Object.entries(files).map(([path, bytes]) => {
        const size = this.listedSize.get(path) ?? bytes.length;
        return isLarge(path)
          ? { type: "file", oid: "1".repeat(40), size, path, lfs: { oid: sha256(bytes), size, pointerSize: 130 }, xetHash: "2".repeat(64) }
          : { type: "file", oid: gitSha1(bytes), size, path };
      }),
    ];
  }

  async #store(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const seen = this.#see("store", request);
    const url = new URL(request.url!, this.storeUrl);
    const path = url.searchParams.get("name") ?? "";
    const hash = url.pathname.slice("/lfs/".length);
    for (const repo of Object.values(this.repos)) {
      for (const { files } of Object.values(repo.revisions)) {
        if (files[path] && sha256(files[path]) === hash)
          return this.#send(request, response, seen, path, files[path], { etag: `"${hash}"` });
      }
    }
    response.writeHead(404).end();
  }

  async #send(
    request: IncomingMessage,
    response: ServerResponse,
    seen: Seen,
    path: string,
    listed: Uint8Array,
    headers: Record<string, string>,
  ): Promise<void> {
    const question = request.headers.range === "bytes=0-0";
    const bytes = question ? listed : (this.instead.get(path) ?? listed);
    const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
    let start = 0,
      end = bytes.length;
    if (first !== undefined && (this.ranges || question)) {
      start = Number(first);
      if (start >= bytes.length) return void response.writeHead(416, { "content-range": `bytes */${bytes.length}` }).end();
      if (last) end = Math.min(end, Number(last) + 1);
      response.writeHead(206, { ...headers, "content-range": `bytes ${start}-${end - 1}/${bytes.length}`, "content-length": end - start });
    } else response.writeHead(200, { ...headers, "content-length": bytes.length });
    const cut = question ? undefined : this.cut.get(path)?.shift();
    const stop = cut === undefined ? end : Math.min(end, start + cut);
    for (let at = start; at < stop && !response.destroyed; at += 16384) {
      if (!question) await this.pace?.();
      const piece = bytes.subarray(at, Math.min(stop, at + 16384));
      await new Promise<void>((done) => response.write(piece, () => done()));
      seen.sent += piece.length;
    }
    if (stop < end) {
      // What was written is to arrive before the connection breaks.
      await new Promise((done) => setTimeout(done, 50));
      response.destroy();
    } else response.end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of [this.hub, this.store]) {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    }
  }
}
