/** The server's calls: `/v1/videos` as OpenAI's clients speak it, and what is beyond it. */
import type { Hono } from "hono";
import { sha256 } from "../base/sha256.ts";
import { outputBlob, type GenerationKind, type Job } from "../jobs/job.ts";
import { newJobId, type JobStore } from "../jobs/store.ts";
import { defined } from "../pipelines/options.ts";
import { Admission } from "./access.ts";
import type { JobBoard, Posted } from "./board.ts";
import { bytesOfDataUrl, collect, fieldsOf } from "./body.ts";
import { contentResponse } from "./content.ts";
import { ApiError, invalid, noSuchVideo } from "./errors.ts";
import { eventResponse } from "./events.ts";
import {
  checked,
  contentQuery,
  createFields,
  deletedShape,
  editFields,
  extendFields,
  listQuery,
  listShape,
  remixFields,
  videoShape,
  type SettingFields,
  type VideoAnswer,
} from "./fields.ts";
import { claim, fingerprintOf } from "./idempotency.ts";
import type { Key } from "./keys.ts";
import { operators, type OperatorOptions } from "./operators.ts";
import { askedOf, remixOf, type AskedVideo, type Offered } from "./request.ts";
import { ICON, PAGE, POLICY, STYLE } from "./page/html.ts";
import type { Roster } from "./roster.ts";
import { Router, type Asking, type RouterOptions } from "./router.ts";
import { Slots } from "./slots.ts";
import { videoOf } from "./video.ts";

export interface AppOptions extends RouterOptions, OperatorOptions, Offered {
  readonly store: JobStore;
  readonly board: JobBoard;
  readonly roster: Roster;
  /** Bytes of a body at most. */
  readonly maxUpload: number;
  /** Jobs that may wait or be worked on. */
  readonly maxJobs: number;
  /** Throws where a webhook's address cannot be one. */
  readonly checkWebhook: (address: string) => void;
  /** The script of the page for people (page/page.ts, built); without it there is no page. */
  readonly script?: Uint8Array<ArrayBuffer>;
  /** Ends streams of events. */
  readonly signal: AbortSignal;
}

/** Bodies of more bytes are read a few at a time, as each is held in memory. */
const LARGE = 1 << 20;

export function createApp(options: AppOptions): Hono {
  const { backend, store, board, roster, offer, maxUpload, maxJobs, signal } = options;
  const router = new Router(options);
  const on = router.on.bind(router);
  const admission = new Admission(board, maxJobs);
  const bodies = new Slots(8, 64);

  const shown = ({ job }: Posted): VideoAnswer =>
    videoOf(job, {
      ...(job.status === "queued" ? { position: board.position(job.id), waitsFor: roster.waitsFor(job) } : {}),
      expiresAt: store.expiresAt(job),
    });

  /** The job of this key. Of another's the same is said as of none. */
  async function find({ c, key }: Pick<Asking, "c" | "key">): Promise<Job> {
    return await ownJob(c.req.param("id") ?? "", key);
  }
  async function ownJob(id: string, key: Key): Promise<Job> {
    const job = await store.get(id);
    if (!job || job.owner !== key.digest) throw noSuchVideo(id);
    return job;
  }

  async function bodyOf(request: Request): Promise<Record<string, unknown>> {
    const length = Number(request.headers.get("content-length") ?? Number.NaN);
    using _ = length <= LARGE ? undefined : await bodies.take();
    return await fieldsOf(await collect(request, maxUpload), request.headers.get("content-type") ?? "");
  }

  interface Making {
    readonly fields: Readonly<Record<string, unknown>>;
    readonly webhook: string | undefined;
    /** What the job is to make; may take a while, as inputs are read. */
    readonly ask: () => Promise<{ readonly asked: AskedVideo; readonly input?: Uint8Array; readonly remixedFrom?: string }>;
  }

  /** Makes a job, or finds the one that the request made before. */
  async function make({ c, request, key, trace }: Asking, { fields, webhook, ask }: Making): Promise<Response> {
    if (webhook !== undefined) options.checkWebhook(webhook);
    const id = newJobId();
    const idempotencyKey = request.headers.get("idempotency-key") ?? undefined;
    const fingerprint = idempotencyKey === undefined ? undefined : await fingerprintOf(c.req.path, fields);
    const claimed = idempotencyKey === undefined ? undefined : await claim(backend.values, key.digest, idempotencyKey, fingerprint!, id);
    if (claimed && "before" in claimed) return Response.json(await now(claimed.before));
    try {
      const { asked, input, remixedFrom } = await ask();
      await roster.expectRoom(asked);
      await admission.admit(key, { request: asked }, async () => {
        await store.create({
          id,
          owner: key.digest,
          request: asked,
          ...defined({ input, remixedFrom, idempotencyKey, fingerprint, webhook, trace: trace?.context }),
        });
        await refresh(id);
      });
      trace?.set({ "cogwheel.job.id": id });
    } catch (error) {
      // What was refused may be sent again with the same key.
      if (claimed && "release" in claimed) await claimed.release();
      throw error;
    }
    return Response.json(await now(id));
  }

  /** Brings the board up to the store, so that who asks next finds what it did. */
  async function refresh(id: string): Promise<Posted | undefined> {
    const posted = await store.read(id);
    if (posted) board.post(posted);
    else board.remove(id);
    return board.get(id);
  }
  async function now(id: string): Promise<VideoAnswer> {
    const posted = await refresh(id);
    if (!posted) throw noSuchVideo(id);
    return shown(posted);
  }

  /** The bytes of a video that a call begins with, and the job that made it where it is one of ours. */
  async function videoOfFields(video: Uint8Array | { id: string }, key: Key): Promise<{ input: Uint8Array<ArrayBuffer>; from?: Job }> {
    if (video instanceof Uint8Array) return { input: new Uint8Array(video) };
    const from = await ownJob(video.id, key);
    if (from.status !== "completed" || !from.output)
      throw invalid(`video must be one that is completed, got ${from.id}, which is ${from.status}; wait for it`, "video");
    const input = await backend.blobs.get(from.output.blob);
    if (!input)
      throw new ApiError(410, "video_expired", `video must be one that is still kept, got ${from.id}, which was removed`, {
        param: "video",
      });
    return { input: new Uint8Array(input), from };
  }

  /** Edits and extensions take size and rate of the video that they begin with, where it is one of ours and they say nothing else. */
  const like = (fields: SettingFields, from: Job | undefined, more: object): SettingFields => {
    const { width, height, fps, frames } = from?.request ?? {};
    const sized = fields.size !== undefined || fields.width !== undefined || fields.height !== undefined;
    const timed = fields.num_frames !== undefined || fields.seconds !== undefined;
    return {
      ...(sized || !width || !height ? {} : { width, height }),
      ...(timed || !frames || !("strength" in more) ? {} : { num_frames: frames }),
      ...(fps ? { fps } : {}),
      ...fields,
    };
  };

  async function begin(asking: Asking, kind: GenerationKind, shape: typeof editFields | typeof extendFields): Promise<Response> {
    const given = await bodyOf(asking.request);
    const { prompt, video, webhook, ...fields } = checked(shape, given);
    return await make(asking, {
      fields: given,
      webhook,
      ask: async () => {
        const { input, from } = await videoOfFields(video, asking.key);
        const asked = await askedOf(options, kind, prompt, like(fields, from, shape.shape), input);
        return { asked, input, ...(from ? { remixedFrom: from.id } : {}) };
      },
    });
  }

  const making = { headers: { "Idempotency-Key": "the same key with the same body gives the same job" }, gives: videoShape };
  const refusesMaking = {
    400: "the model cannot make this",
    409: "a request with this Idempotency-Key is being answered",
    413: "the body is too large",
    422: "the Idempotency-Key came with another body before",
    429: "a limit of the key or of the server is reached; Retry-After says when to come again",
  };

  on(
    {
      method: "post",
      path: "/v1/videos",
      summary: "Make a video from a prompt, or from a prompt and a picture",
      body: createFields,
      form: true,
      ...making,
      refuses: refusesMaking,
    },
    async (asking) => {
      const given = await bodyOf(asking.request);
      const { prompt, input_reference: picture, webhook, ...fields } = checked(createFields, given);
      const input = picture === undefined || picture instanceof Uint8Array ? picture : bytesOfDataUrl(picture.image_url, "input_reference");
      return await make(asking, {
        fields: given,
        webhook,
        ask: async () => ({ asked: await askedOf(options, input ? "image" : "text", prompt, fields, input), ...(input ? { input } : {}) }),
      });
    },
  );
  on(
    {
      method: "post",
      path: "/v1/videos/edits",
      summary: "Make a video anew by a prompt",
      body: editFields,
      form: true,
      ...making,
      refuses: refusesMaking,
    },
    (asking) => begin(asking, "video", editFields),
  );
  on(
    {
      method: "post",
      path: "/v1/videos/extensions",
      summary: "Go on from a video's last picture",
      body: extendFields,
      form: true,
      ...making,
      refuses: refusesMaking,
    },
    (asking) => begin(asking, "extension", extendFields),
  );
  on(
    {
      method: "post",
      path: "/v1/videos/:id/remix",
      summary: "The same noise and settings with another prompt",
      body: remixFields,
      ...making,
      refuses: refusesMaking,
    },
    async (asking) => {
      const from = await find(asking);
      const given = await bodyOf(asking.request);
      const { prompt, seed, webhook } = checked(remixFields, given);
      return await make(asking, {
        fields: given,
        webhook,
        ask: async () => {
          const asked = remixOf(offer, from.request, prompt, seed);
          const input = from.request.input === undefined ? undefined : await backend.blobs.get(from.request.input);
          if (from.request.input !== undefined && !input)
            throw new ApiError(
              410,
              "video_expired",
              `what ${from.id} began with must still be kept, got that it was removed; send it anew`,
            );
          return { asked, remixedFrom: from.id, ...(input ? { input } : {}) };
        },
      });
    },
  );
  on({ method: "get", path: "/v1/videos", summary: "This key's videos", query: listQuery, gives: listShape }, async ({ c, key }) => {
    const { after, limit, order } = checked(listQuery, c.req.query());
    const data: VideoAnswer[] = [];
    let more = false;
    for (const job of board.jobs(order)) {
      if (job.owner !== key.digest || (after !== undefined && (order === "asc" ? job.id <= after : job.id >= after))) continue;
      if (data.length === limit) {
        more = true;
        break;
      }
      data.push(shown(board.get(job.id)!));
    }
    return Response.json({ object: "list", data, has_more: more, first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null });
  });
  on(
    { method: "get", path: "/v1/videos/:id", summary: "How far a video is", gives: videoShape, refuses: { 404: "there is none" } },
    async (asking) => {
      // Without a look into the store: what the board has is as new as its watch. What it has not another server may have made just now.
      const posted = board.get(asking.c.req.param("id") ?? "");
      if (posted?.job.owner === asking.key.digest) return Response.json(shown(posted));
      return Response.json(await now((await find(asking)).id));
    },
  );
  on(
    {
      method: "delete",
      path: "/v1/videos/:id",
      summary: "Remove a video; one that is not finished is cancelled first",
      gives: deletedShape,
      refuses: { 404: "there is none" },
    },
    async (asking) => {
      const { id } = await find(asking);
      await store.delete(id);
      await refresh(id);
      return Response.json({ id, object: "video.deleted", deleted: true });
    },
  );
  on(
    {
      method: "post",
      path: "/v1/videos/:id/cancel",
      summary: "Stop the work: the video is failed, with code cancelled",
      gives: videoShape,
      refuses: { 404: "there is none" },
    },
    async (asking) => {
      const { id } = await find(asking);
      await store.cancel(id);
      return Response.json(await now(id));
    },
  );
  on(
    {
      method: "get",
      path: "/v1/videos/:id/content",
      summary: "The video's bytes, by range where that is asked for",
      query: contentQuery,
      gives: "video/mp4",
      refuses: { 404: "there is none", 409: "it is not finished; Retry-After says when to come again", 410: "it was removed" },
    },
    async (asking) => {
      const { variant } = checked(contentQuery, asking.c.req.query());
      const id = asking.c.req.param("id") ?? "";
      if (board.goneOf(id) === asking.key.digest)
        throw new ApiError(410, "video_expired", `a video must still be kept, got ${id}, which was removed`);
      const job = await find(asking);
      if (job.status === "failed")
        throw new ApiError(
          409,
          "video_failed",
          `a video must be completed, got ${job.id}, which failed: ${job.error?.message ?? "for no reason that is known"}`,
        );
      if (job.status !== "completed" || !job.output)
        throw new ApiError(409, "video_not_ready", `a video must be completed, got ${job.id}, which is ${job.status}; come again`, {
          retryAfter: Math.min(job.secondsLeft ?? 2, 60),
        });
      const whole = variant === "video";
      const blob = whole ? job.output.blob : outputBlob(job.id, variant);
      const size = await backend.blobs.size(blob);
      if (size === undefined)
        throw (await backend.blobs.size(job.output.blob)) === undefined
          ? new ApiError(410, "video_expired", `a video must still be kept, got ${job.id}, which was removed`)
          : new ApiError(404, "no_such_variant", `a variant must be one that was made, got ${variant}; ask for video`, {
              param: "variant",
            });
      const type = whole ? job.output.type : pictureType((await backend.blobs.get(blob, 0, 4)) ?? new Uint8Array());
      const tag = whole ? job.output.digest : await sha256(new TextEncoder().encode(`${variant} ${job.output.digest}`));
      const extension = type.split("/")[1] === "jpeg" ? "jpg" : (type.split("/")[1] ?? "bin");
      return contentResponse(
        asking.request,
        { blob, type, size, tag, name: `${job.id}${whole ? "" : `-${variant}`}.${extension}` },
        backend.blobs,
      );
    },
  );
  on(
    {
      method: "get",
      path: "/v1/videos/:id/events",
      summary: "What becomes of a video: progress, preview, then completed, failed or deleted",
      headers: { "Last-Event-ID": "the last event that the client has" },
      gives: "text/event-stream",
      refuses: { 404: "there is none" },
    },
    async (asking) => {
      const { id } = await find(asking);
      await refresh(id);
      return eventResponse(id, asking.request.headers.get("last-event-id"), {
        board,
        blobs: backend.blobs,
        shown,
        signal,
        onEnd: () => asking.place[Symbol.dispose](),
      });
    },
  );
  operators(router, options);
  if (options.script) {
    router.page("/", "text/html; charset=utf-8", PAGE, POLICY);
    router.page("/serve.css", "text/css; charset=utf-8", STYLE, POLICY);
    router.page("/serve.js", "text/javascript; charset=utf-8", options.script, POLICY);
    router.page("/icon.svg", "image/svg+xml", ICON, POLICY);
  }
  return router.app;
}

function pictureType(bytes: Uint8Array): string {
  return bytes[0] === 0x89 ? "image/png" : bytes[0] === 0xff ? "image/jpeg" : "image/webp";
}
