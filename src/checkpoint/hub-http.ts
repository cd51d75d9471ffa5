import { checkEndpoint, checkHubOptions, chooseRevision } from "./hub-id.ts";
import type { HubId, HubOptions } from "./hub-id.ts";
import { askCommit, refusal, type HubRequest } from "./hub-fetch.ts";
import { httpSource } from "./source-http.ts";
import type { CheckpointSource } from "./source.ts";

/** The hub's names for what is not a file's absence, though its status may be 404. */
const NOT_THE_FILE: ReadonlySet<string> = new Set(["GatedRepo", "RepoNotFound", "RevisionNotFound"]);

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
  const { signal, fetch, stallSeconds } = options;
  const same = { ...(signal ? { signal } : {}), ...(fetch ? { fetch } : {}), ...(stallSeconds === undefined ? {} : { stallSeconds }) };
  const request: HubRequest = { ...same, name: id.name, revision, endpoint, token };
  const commit = await askCommit(modelInfo, request, id.name);
  return httpSource(
    `${endpoint}/${id.name}/resolve/${commit}/`,
    { ...same, ...(token === null ? {} : { headers: { authorization: `Bearer ${token}` } }) },
    {
      version: commit,
      refusal: (_, answer) => (answer.status === 401 || answer.status === 403 || NOT_THE_FILE.has(answer.headers.get("x-error-code") ?? "") ? refusal(request, answer) : undefined),
    },
  );
}
