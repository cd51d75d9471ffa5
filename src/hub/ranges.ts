/** A repository on the hub, read where it lies. */
import { checkEndpoint, checkHubOptions, chooseRevision } from "./id.ts";
import type { HubId, HubOptions } from "./id.ts";
import { askCommit, refusal, type HubRequest } from "./fetch.ts";
import { httpSource } from "../sources/http.ts";
import { checkPath, type CheckpointSource } from "../sources/source.ts";

/** The hub's names for what is not a file's absence, though its status may be 404. */
const NOT_THE_FILE: ReadonlySet<string> = new Set(["GatedRepo", "RepoNotFound", "RevisionNotFound"]);

/**
 * A repository on the hub, or a folder in it, read where it lies by HTTP ranges; nothing is kept. All files are of the commit that the
 * revision names now.
 */
export async function hubHttpSource(id: HubId & { readonly folder?: string }, options: HubOptions = {}): Promise<CheckpointSource> {
  checkHubOptions(options);
  const { HUB_URL, modelInfo } = await import("./client.ts");
  const { signal, fetch, stallSeconds } = options;
  const request: HubRequest = {
    ...(signal ? { signal } : {}),
    ...(fetch ? { fetch } : {}),
    ...(stallSeconds === undefined ? {} : { stallSeconds }),
    name: id.name,
    revision: chooseRevision(id, options.revision),
    endpoint: checkEndpoint(options.endpoint ?? HUB_URL),
    token: options.token ?? null,
  };
  return hubRanges(request, await askCommit(modelInfo, request, id.name), id.folder);
}

/** The same of a commit that is known. */
export function hubRanges(request: HubRequest, commit: string, folder = ""): CheckpointSource {
  const { signal, fetch, stallSeconds, name, endpoint, token } = request;
  if (folder !== "") checkPath({ label: name }, folder);
  return httpSource(
    `${endpoint}/${name}/resolve/${commit}/${folder.split("/").map(encodeURIComponent).join("/")}`,
    {
      ...(signal ? { signal } : {}),
      ...(fetch ? { fetch } : {}),
      ...(stallSeconds === undefined ? {} : { stallSeconds }),
      ...(token === null ? {} : { headers: { authorization: `Bearer ${token}` } }),
    },
    {
      version: commit,
      refusal: (_, answer) =>
        answer.status === 401 || answer.status === 403 || NOT_THE_FILE.has(answer.headers.get("x-error-code") ?? "")
          ? refusal(request, answer)
          : undefined,
    },
  );
}
