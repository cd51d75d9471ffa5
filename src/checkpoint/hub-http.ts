import { checkEndpoint, checkHubOptions, chooseRevision } from "./hub-id.ts";
import type { HubId, HubOptions } from "./hub-id.ts";
import { hubFetch } from "./hub-fetch.ts";
import { httpSource } from "./source-http.ts";
import type { CheckpointSource } from "./source.ts";

/**
 * A repository on the hub, read where it lies by HTTP ranges; nothing is kept. All files are of the commit that the
 * revision names now.
 */
export async function hubHttpSource(id: HubId, options: HubOptions = {}): Promise<CheckpointSource> {
  checkHubOptions(options);
  const revision = chooseRevision(id, options.revision);
  const { HUB_URL, modelInfo } = await import("./hub-client.ts");
  const endpoint = checkEndpoint(options.endpoint ?? HUB_URL);
  const token = options.token ?? null;
  const fetch = hubFetch({ ...options, name: id.name, revision, endpoint, token });
  const { sha } = await modelInfo({ name: id.name, revision, hubUrl: endpoint, fetch, additionalFields: ["sha"] });
  return httpSource(`${endpoint}/${id.name}/resolve/${sha}/`, {
    ...(token === null ? {} : { headers: { authorization: `Bearer ${token}` } }),
    ...(options.signal ? { signal: options.signal } : {}),
    ...(options.fetch ? { fetch: options.fetch } : {}),
  });
}
