/** What operators and their programs ask: models, metrics, health, and the description of all calls. */
import type { JobBackend } from "../jobs/backend.ts";
import type { ModelOffer } from "../pipelines/cogvideox/offer.ts";
import type { Adapters } from "./adapters.ts";
import { ApiError } from "./errors.ts";
import { modelsShape } from "./fields.ts";
import type { Metrics } from "./metrics.ts";
import { openApi } from "./openapi.ts";
import type { Router } from "./router.ts";

export interface OperatorOptions {
  readonly backend: JobBackend;
  readonly metrics: Metrics;
  readonly offer: ModelOffer;
  readonly adapters: Adapters;
  readonly version: string;
  /** Why nothing is worked on, in words that follow "got that"; undefined where something is. */
  readonly trouble: () => string | undefined;
}

export function operators(router: Router, { backend, metrics, offer, adapters, version, trouble }: OperatorOptions): void {
  const started = Math.floor(Date.now() / 1000);
  router.on({ method: "get", path: "/v1/models", summary: "What videos can be made with", gives: modelsShape }, async () =>
    Response.json({
      object: "list",
      data: [{ id: offer.name, object: "model", created: started, owned_by: "cogwheel", adapters: adapters.names }],
    }),
  );
  router.on({ method: "get", path: "/metrics", summary: "For Prometheus", gives: "text/plain" }, async () => {
    const text = await metrics.text();
    return new Response(text, { headers: { "content-type": metrics.type } });
  });
  for (const path of ["/health", "/livez"])
    router.on(
      { method: "get", path, summary: "Does the server answer?", gives: "text/plain", open: true },
      async () => new Response("ok\n"),
    );
  router.on(
    { method: "get", path: "/readyz", summary: "Are jobs worked on?", gives: "text/plain", open: true, refuses: { 503: "not now" } },
    async () => {
      const store = (): Promise<string | undefined> =>
        backend.values.get("readiness").then(
          () => undefined,
          () => "the store does not answer",
        );
      const found = trouble() ?? (await store());
      if (found !== undefined) throw new ApiError(503, "not_ready", `jobs must be worked on, got that ${found}`, { retryAfter: 2 });
      return new Response("ok\n");
    },
  );
  router.on({ method: "get", path: "/openapi.json", summary: "This description", gives: "application/json", open: true }, async () =>
    Response.json(openApi(router.calls, version)),
  );
}
