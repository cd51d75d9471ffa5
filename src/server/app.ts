/** The server's calls: `/v1/videos` as OpenAI's clients speak it, and what is beyond it. */
import type { Hono } from "hono";
import type { GenerationKind, Job } from "../jobs/job.ts";
import { Desk, type DeskOptions, type Making } from "./desk.ts";
import { defined } from "../pipelines/options.ts";
import type { Posted } from "./board.ts";
import { videoResponse } from "./content.ts";
import { ApiError } from "./errors.ts";
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
  type VideoAnswer,
} from "./fields.ts";
import { operators, type OperatorOptions } from "./operators.ts";
import { ICON, pageOf, POLICY, STYLE } from "./page/html.ts";
import { predictions } from "./predictions.ts";
import { askedOf, beginningOf, like, remixOf, type Offered } from "./request.ts";
import { Router, type Asking, type RouterOptions } from "./router.ts";
import { videoOf } from "./video.ts";

export interface AppOptions extends RouterOptions, OperatorOptions, DeskOptions, Offered {
  /** The script of the page for people (page/page.ts, built); without it there is no page. */
  readonly script?: Uint8Array<ArrayBuffer>;
  /** The address of the page where a tab becomes a worker; without it the page for people has no link there. */
  readonly tabs?: string;
  /** Ends streams of events. */
  readonly signal: AbortSignal;
}

export function createApp(options: AppOptions): Hono {
  const { backend, store, board, roster, offer, signal } = options;
  const router = new Router(options);
  const on = router.on.bind(router);
  const desk = new Desk(options);

  const shown = ({ job }: Posted): VideoAnswer =>
    videoOf(job, {
      ...(job.status === "queued" ? { position: board.position(job.id), waitsFor: roster.waitsFor(job) } : {}),
      expiresAt: store.expiresAt(job),
    });
  const find = ({ c, key }: Asking): Promise<Job> => desk.ownJob(c.req.param("id") ?? "", key);
  const make = async (asking: Asking, making: Making): Promise<Response> => Response.json(shown(await desk.make(asking, making)));

  async function begin(asking: Asking, kind: GenerationKind, shape: typeof editFields | typeof extendFields): Promise<Response> {
    const given = await desk.bodyOf(asking.request);
    const { prompt, video, webhook, ...fields } = checked(shape, given);
    return await make(asking, {
      fields: given,
      webhook,
      ask: async () => {
        const { input, from } = await desk.videoOfFields(video, asking.key);
        const asked = await askedOf(options, kind, prompt, like(fields, from, "strength" in shape.shape), input);
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
      summary: "Make a video from a prompt, or from a prompt and a picture or a video",
      body: createFields,
      form: true,
      ...making,
      refuses: refusesMaking,
    },
    async (asking) => {
      const given = await desk.bodyOf(asking.request);
      const { prompt, webhook, input_reference, image_reference, video_reference, ...fields } = checked(createFields, given);
      const { kind, input } = beginningOf(defined({ input_reference, image_reference, video_reference }));
      return await make(asking, {
        fields: given,
        webhook,
        ask: async () => ({ asked: await askedOf(options, kind, prompt, fields, input), ...(input ? { input } : {}) }),
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
      const given = await desk.bodyOf(asking.request);
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
      const { c, key } = asking;
      return Response.json(shown(await desk.posted(c.req.param("id") ?? "", key)));
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
      await desk.refresh(id);
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
      return Response.json(shown(await desk.now(id)));
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
      return await videoResponse(asking.request, job, variant, backend.blobs);
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
      await desk.refresh(id);
      return eventResponse(id, asking.request.headers.get("last-event-id"), {
        board,
        blobs: backend.blobs,
        shown,
        signal,
        onEnd: () => asking.place[Symbol.dispose](),
      });
    },
  );
  predictions(router, desk, options);
  operators(router, options);
  if (options.script) {
    router.page("/", "text/html; charset=utf-8", pageOf(options.tabs), POLICY);
    router.page("/serve.css", "text/css; charset=utf-8", STYLE, POLICY);
    router.page("/serve.js", "text/javascript; charset=utf-8", options.script, POLICY);
    router.page("/icon.svg", "image/svg+xml", ICON, POLICY);
  }
  return router.app;
}
