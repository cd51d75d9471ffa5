/**
 * The platform, in Node: Dawn from npm, files, Linux's ways to Vulkan. An app needs no launcher where the system has a Vulkan
 * loader: the drivers are then named in this very process, before Dawn looks for them.
 */
import { CogwheelError } from "../base/errors.ts";
import { adviceFor, beginSession, leaveSession, listEveryAdapter, readSession } from "./choose.ts";
import { createDawn } from "./dawn.ts";
import { applyEnvironment, probeHere, probeInChild } from "./probe.ts";
import { refuseTightAddressSpace } from "./memory-node.ts";
import { muffled } from "./muffled-node.ts";
import type { AdapterRequest, FoundAdapter, ListedAdapter } from "./types.ts";

export { installWebCodecs, listFolder } from "./files-node.ts";
export { collectGarbage } from "./garbage-node.ts";
export { keptAt, keptFiles } from "./kept-node.ts";
export { availableMemoryBytes, peakResidentBytes } from "./memory-node.ts";
export { openOutput } from "./output-node.ts";
export { checkWritable } from "./writable-node.ts";
export { KEEPS_TABLES, namedTuning, readTuning, writeTuning } from "./tuning-node.ts";
export { openSpill, spillRoom } from "./spill-node.ts";
export { waitFor, waitForGpu } from "./wait-node.ts";

export async function requestGpuAdapter(request: AdapterRequest = {}): Promise<FoundAdapter> {
  refuseTightAddressSpace();
  // Only in a process that is ours throughout, or whose owner says so: an app's standard error is the app's.
  const quiet = readSession()?.launcher !== undefined || process.env["COGWHEEL_QUIET_DRIVER"] === "1";
  return quiet ? await muffled(() => findAdapter(request)) : await findAdapter(request);
}

async function findAdapter(request: AdapterRequest): Promise<FoundAdapter> {
  const want = request.adapter ?? (process.env["COGWHEEL_ADAPTER"] || undefined);
  let session = readSession();
  if (session?.want !== want || !session) {
    if (session) leaveSession(session);
    applyEnvironment(await beginSession(want, probeHere));
    session = readSession()!;
  }
  if (session.error !== undefined) throw new CogwheelError("adapter", session.error);
  const dawn = await createDawn(session.device);
  const adapter = await dawn.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter)
    throw new CogwheelError(
      "adapter",
      "Dawn must open the adapter that it accepted before, got none " +
        `from ${process.env["VK_DRIVER_FILES"] ?? "the system's drivers"}; run \`cogwheel adapters\` for those that it accepts now`,
    );
  const { info } = adapter;
  const name = info.description || info.device || `${info.vendor} ${info.architecture}`;
  const kind = info.isFallbackAdapter ? "software" : "hardware";
  return { adapter, kind, name, advice: kind === "software" ? adviceFor(name) : undefined, languageFeatures: dawn.wgslLanguageFeatures };
}

export async function listAdapters(): Promise<ListedAdapter[]> {
  const session = readSession();
  const mine = { ...process.env };
  if (session) leaveSession(session);
  try {
    return await listEveryAdapter(session?.launcher === undefined ? probeHere : probeInChild(session.launcher));
  } finally {
    for (const name of ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "COGWHEEL_PROBED"]) applyEnvironment({ [name]: mine[name] });
  }
}
