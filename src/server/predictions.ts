/** The second door: Replicate's calls, on the same jobs, keys and limits as `/v1/videos`. */
import type { Context } from "hono";
import { linkedAbort } from "../base/linked-abort.ts";
import type { Job, PredictionEvent } from "../jobs/job.ts";
import { isOver, type JobStore } from "../jobs/store.ts";
import type { Posted } from "./board.ts";
import { bytesOfDataUrl } from "./body.ts";
import { videoResponse } from "./content.ts";
import type { Desk, DeskOptions } from "./desk.ts";
import { ApiError, invalid, noSuchVideo } from "./errors.ts";
import { event, streamResponse } from "./events.ts";
import { checked } from "./fields.ts";
import type { Key, Keys } from "./keys.ts";
import {
  createModelPrediction,
  createPrediction,
  logsOf,
  predictionBody,
  predictionInput,
  predictionOf,
  predictionShape,
  predictionsQuery,
  predictionsShape,
  statusOf,
  type PredictionAnswer,
} from "./prediction.ts";
import { isReadToken, readTokens } from "./read-token.ts";
import { askedOf, like, type AskedVideo, type Offered } from "./request.ts";
import type { Asking, Router } from "./router.ts";

export interface PredictionOptions extends Offered, Pick<DeskOptions, "backend" | "board"> {
  readonly store: JobStore;
  readonly keys: Keys;
  /** Ends streams. */
  readonly signal: AbortSignal;
}

/** Predictions of a page, as at Replicate. */
const PAGE = 100;
/** Seconds that `Prefer: wait` waits, at most and where it does not say. */
const WAIT = 60;
/** Where no filter says otherwise. */
const TOLD: readonly PredictionEvent[] = ["output", "completed"];

/** Where the server is, as this client calls it. A server in front that speaks TLS says so. */
function baseOf({ url, headers }: Request): string {
  const { protocol, host } = new URL(url);
  return `${headers.get("x-forwarded-proto") === "https" ? "https:" : protocol}//${host}`;
}

/** Milliseconds that a client asks to wait for the end; undefined where it does not. */
export function waitMs(prefer: string | null): number | undefined {
  const [, wait, seconds] = /(?:^|[,;])\s*(wait)\s*(?:=\s*"?(\d{1,9})"?\s*)?(?=$|[,;])/i.exec(prefer ?? "") ?? [];
  return wait === undefined ? undefined : 1000 * Math.min(WAIT, Math.max(1, Number(seconds ?? WAIT)));
}

export function predictions(router: Router, desk: Desk, options: PredictionOptions): void {
  const { backend, board, store, keys, offer, signal } = options;

  async function answer(asking: Asking, { job }: Posted): Promise<PredictionAnswer> {
    const token = await (await readTokens(asking.key.webhookSecret))(job.id);
    return predictionOf(job, { base: baseOf(asking.request), token });
  }

  /** What a prediction's input asks for. */
  async function asked(input: Readonly<Record<string, unknown>>, key: Key): Promise<{ asked: AskedVideo; input?: Uint8Array }> {
    const given = Object.fromEntries(Object.entries(input).filter(([, value]) => value !== null));
    const { prompt, image, video, ...fields } = checked(predictionInput, given);
    if (image !== undefined && video !== undefined)
      throw invalid("a prediction begins from an image or from a video, got both; leave one out", "image");
    if (video !== undefined) {
      const [, id] = /^https?:\/\/[^/]+\/v1\/(?:predictions|videos)\/(video_[0-9a-f]{32})\/(?:output|content)(?:\?|$)/.exec(video) ?? [];
      const made = await desk.videoOfFields(id === undefined ? bytesOfDataUrl(video, "video") : { id }, key);
      const settings = like(fields, made.from, true);
      return {
        asked: await askedOf(options, "video", prompt, settings, made.input),
        input: made.input,
        ...(made.from ? { remixedFrom: made.from.id } : {}),
      };
    }
    const picture = image === undefined ? undefined : bytesOfDataUrl(image, "image");
    return {
      asked: await askedOf(options, picture ? "image" : "text", prompt, fields, picture),
      ...(picture ? { input: picture } : {}),
    };
  }

  function checkModel(name: string, field: string, value: string): void {
    if (name !== offer.name)
      throw new ApiError(
        404,
        "model_not_found",
        `${field} must name ${offer.name}, which is what this server has, got ${JSON.stringify(value.slice(0, 80))}`,
        { param: field },
      );
  }

  async function create(asking: Asking): Promise<Response> {
    const { c, request, key } = asking;
    const fields = await desk.bodyOf(request);
    const named = c.req.param("name");
    if (named !== undefined) checkModel(named, "model", `${c.req.param("owner")}/${named}`);
    const { version, input, webhook, webhook_events_filter: filter } = checked(predictionBody, fields);
    if (version !== undefined) {
      const [, name, of = name] = /^(?:[^/:]+\/)?([^/:]+)(?::([^/:]+))?$/.exec(version) ?? [];
      checkModel(name === of && name !== undefined ? name : "", "version", version);
    }
    const posted = await desk.make(asking, {
      fields,
      webhook,
      prediction: { base: baseOf(request), events: filter ?? TOLD },
      ask: () => asked(input, key),
    });
    const ms = waitMs(request.headers.get("prefer"));
    using gone = linkedAbort(request.signal, signal);
    const now = ms === undefined ? posted : await desk.settled(posted.job.id, ms, gone.signal);
    const made = await answer(asking, now);
    // Of one that is not over Replicate's client asks again only where it has not begun: else it takes the output that is not there yet.
    const told = isOver(now.job) ? made : { ...made, status: "starting" };
    return Response.json(told, {
      status: 201,
      headers: ms === undefined ? {} : { "preference-applied": `wait=${ms / 1000}` },
    });
  }

  const creates = {
    gives: predictionShape,
    status: 201,
    problems: true,
    headers: {
      Prefer: `wait, or wait=SECONDS (up to ${WAIT}): answers when the prediction is over, or when so long has passed`,
      "Idempotency-Key": "the same key with the same body gives the same prediction",
    },
    refuses: {
      404: "there is no such model",
      409: "a request with this Idempotency-Key is being answered",
      413: "the body is too large",
      422: "the model cannot make this",
      429: "a limit of the key or of the server is reached; Retry-After says when to come again",
    },
  } as const;
  const missing = { 404: "there is none" };

  router.on(
    {
      method: "post",
      path: "/v1/predictions",
      summary: "Make a video, by Replicate's call; it may have a webhook that is told of start, output, logs and completed",
      body: createPrediction,
      ...creates,
    },
    create,
  );
  router.on(
    {
      method: "post",
      path: "/v1/models/:owner/:name/predictions",
      summary: "The same by the model's name; any owner will do",
      body: createModelPrediction,
      ...creates,
    },
    create,
  );
  router.on(
    {
      method: "get",
      path: "/v1/predictions",
      summary: "This key's predictions, a hundred at a time, the newest first",
      query: predictionsQuery,
      gives: predictionsShape,
      problems: true,
    },
    async (asking) => {
      const { c, key, request } = asking;
      const { cursor } = checked(predictionsQuery, c.req.query());
      const [, direction, from = ""] = /^(after|before)-(.*)$/.exec(cursor ?? "") ?? [];
      const back = direction === "before";
      const page: Job[] = [];
      // To the older ones, or from a page's newest on to the newer ones.
      for (const job of board.jobs(back ? "asc" : "desc")) {
        if (job.owner !== key.digest || (direction !== undefined && (back ? job.id <= from : job.id >= from))) continue;
        if (page.push(job) > PAGE) break;
      }
      const more = page.length > PAGE;
      page.length = Math.min(page.length, PAGE);
      if (back) page.reverse();
      const base = baseOf(request);
      const at = (where: "after" | "before", job: Job | undefined, there: boolean): string | null =>
        there && job ? `${base}/v1/predictions?cursor=${where}-${job.id}` : null;
      const token = await readTokens(key.webhookSecret);
      return Response.json({
        previous: at("before", page[0], back ? more : cursor !== undefined),
        next: at("after", page.at(-1), back || more),
        results: await Promise.all(page.map(async (job) => predictionOf(job, { base, token: await token(job.id) }))),
      });
    },
  );
  router.on(
    {
      method: "get",
      path: "/v1/predictions/:id",
      summary: "How far a prediction is",
      gives: predictionShape,
      problems: true,
      refuses: missing,
    },
    async (asking) => Response.json(await answer(asking, await desk.posted(asking.c.req.param("id") ?? "", asking.key))),
  );
  router.on(
    {
      method: "post",
      path: "/v1/predictions/:id/cancel",
      summary: "Stop the work",
      gives: predictionShape,
      problems: true,
      refuses: missing,
    },
    async (asking) => {
      const { id } = await desk.ownJob(asking.c.req.param("id") ?? "", asking.key);
      await store.cancel(id);
      return Response.json(await answer(asking, await desk.now(id)));
    },
  );
  // Replicate's client sends files there first. Where it hears that this cannot be, and not that it was wrong, it sends data: addresses.
  router.app.post("/v1/files", () =>
    new ApiError(501, "no_files", "a file must be in the input, as a data: address, got an upload; this server keeps none").problem(),
  );

  /** The key of the job that an address is of: its token shows that the key's owner gave it. */
  async function whose(c: Context): Promise<Key> {
    const id = c.req.param("id") ?? "";
    const owner = board.get(id)?.job.owner ?? (await store.get(id))?.owner;
    const key = owner === undefined ? undefined : await keys.ofOwner(owner);
    if (key && (await isReadToken(key.webhookSecret, id, c.req.query("token") ?? ""))) return key;
    throw noSuchVideo(id);
  }
  router.on(
    {
      method: "get",
      path: "/v1/predictions/:id/output",
      summary: "The video's bytes, by the address that a prediction tells",
      gives: "video/mp4",
      problems: true,
      refuses: { ...missing, 409: "it is not finished", 410: "it was removed" },
    },
    async ({ c, request, key }) => await videoResponse(request, await desk.ownJob(c.req.param("id") ?? "", key), "video", backend.blobs),
    whose,
  );
  router.on(
    {
      method: "get",
      path: "/v1/predictions/:id/stream",
      summary: "What becomes of a prediction, as Replicate's client follows it: logs, output, error, done",
      gives: "text/event-stream",
      problems: true,
      refuses: missing,
    },
    async (asking) => {
      const { id } = await desk.ownJob(asking.c.req.param("id") ?? "", asking.key);
      await desk.refresh(id);
      let told = "";
      const base = baseOf(asking.request);
      const token = await (await readTokens(asking.key.webhookSecret))(id);
      return streamResponse(id, asking.request.headers.get("last-event-id"), {
        board,
        signal,
        onEnd: () => asking.place[Symbol.dispose](),
        next: async (now) => {
          if (!now) return event("done", { reason: "canceled" });
          const { job, revision } = now;
          const logs = logsOf(job);
          const line = logs === told ? "" : event("logs", logs, revision);
          told = logs;
          if (!isOver(job)) return line || undefined;
          const { output, error } = predictionOf(job, { base, token });
          const done = event(
            "done",
            job.status === "completed" ? {} : { reason: statusOf(job) === "canceled" ? "canceled" : "error" },
            revision,
          );
          if (output !== null) return line + event("output", output, revision) + done;
          return line + (statusOf(job) === "failed" ? event("error", { detail: error }, revision) : "") + done;
        },
      });
    },
    whose,
  );
}
