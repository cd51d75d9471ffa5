/** The platform, in a browser: its own WebGPU and WebCodecs; results are handed over as bytes, not as files. */
import { CogwheelError } from "../base/errors.ts";
import type { AdapterRequest, FoundAdapter, ListedAdapter, OutputFiles, Spill } from "./types.ts";

export { keptFiles } from "./kept-browser.ts";

const SECURE = "serve the page over https or from localhost";
const NEWER = "use a browser that has WebGPU (Chrome or Edge 113, Safari 26, Firefox 141 or newer)";

function gpu(): GPU {
  const found = globalThis.navigator?.gpu as GPU | undefined;
  if (found) return found;
  const insecure = globalThis.isSecureContext === false;
  throw new CogwheelError("adapter", `WebGPU must be there, got no navigator.gpu; ${insecure ? SECURE : NEWER}.`);
}

async function request(options: GPURequestAdapterOptions): Promise<GPUAdapter | null> {
  return gpu().requestAdapter(options);
}

function describe(adapter: GPUAdapter): { name: string; kind: "hardware" | "software" } {
  const { info } = adapter;
  const name = info.description || [info.vendor, info.architecture, info.device].filter(Boolean).join(" ") || "the browser's adapter";
  const software = info.isFallbackAdapter || /swiftshader|llvmpipe|basic render/i.test(name);
  return { name, kind: software ? "software" : "hardware" };
}

export async function requestGpuAdapter({ adapter: want }: AdapterRequest = {}): Promise<FoundAdapter> {
  const fallback = want !== undefined && /^(swiftshader|lavapipe)$/i.test(want);
  const adapter =
    (await request({ powerPreference: "high-performance", forceFallbackAdapter: fallback })) ??
    (want === undefined ? await request({}) : null);
  if (!adapter)
    throw new CogwheelError(
      "adapter",
      `the browser must give an adapter${want === undefined ? "" : ` for "${want}"`}, got none; ` +
        "see chrome://gpu for why (a blocked driver, or hardware acceleration that is off).",
    );
  if (!("document" in globalThis)) room = await (await import("./spill-page.ts")).spillRoom();
  const { name, kind } = describe(adapter);
  const fits =
    want === undefined ||
    fallback ||
    (want.toLowerCase() === "gpu" ? kind === "hardware" : name.toLowerCase().includes(want.toLowerCase()));
  if (!fits) throw new CogwheelError("adapter", `the browser chooses the adapter, got ${name} and not "${want}"; leave adapter out.`);
  const advice =
    kind === "software"
      ? "slow: this adapter runs on the CPU; a GPU, with hardware acceleration switched on in the browser, is faster"
      : undefined;
  return { adapter, kind, name, advice, languageFeatures: gpu().wgslLanguageFeatures };
}

export async function listAdapters(): Promise<ListedAdapter[]> {
  const list: ListedAdapter[] = [];
  for (const options of [
    { powerPreference: "high-performance" },
    { powerPreference: "low-power" },
    { forceFallbackAdapter: true },
  ] as const) {
    const adapter = await request(options);
    if (!adapter) continue;
    const { name, kind } = describe(adapter);
    if (list.some((one) => one.name === name)) continue;
    const { subgroupMinSize: min, subgroupMaxSize: max, vendor, architecture } = adapter.info;
    const { maxBufferSize, maxStorageBufferBindingSize, maxComputeInvocationsPerWorkgroup } = adapter.limits;
    list.push({
      name,
      kind,
      select: kind === "hardware" ? "gpu" : name,
      vendor,
      architecture,
      subgroups: min && max ? { min, max } : undefined,
      features: [...adapter.features].sort(),
      limits: { maxBufferSize, maxStorageBufferBindingSize, maxComputeInvocationsPerWorkgroup },
    });
  }
  return list;
}

/** A browser collects when it sees fit, and bounds what its GPU process takes. */
export function collectGarbage(): void {}

/** A browser waits in its own GPU process: nothing spins here. */
export async function waitForGpu({ queue }: GPUDevice, _predictedMs?: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  const done = queue.onSubmittedWorkDone();
  if (!signal) return done;
  let stop = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason as Error);
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    await Promise.race([done, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** A promise of WebGPU's: a browser keeps it, and nothing spins here. */
export const waitFor = <T>(_device: GPUDevice, promise: Promise<T>): Promise<T> => promise;

export function peakResidentBytes(): number | undefined {
  return undefined;
}

/** Browsers tell the machine's memory only, rounded, and at most 8 GiB; half of it is a careful guess for a page. */
export function availableMemoryBytes(): number | undefined {
  const gibibytes = (globalThis.navigator as { deviceMemory?: number } | undefined)?.deviceMemory;
  return gibibytes === undefined ? undefined : gibibytes * 2 ** 29;
}

/** What the browser's private file system has room for, where a worker asks, who alone can read and write it as it goes. */
let room = 0;
export const spillRoom = (): number => room;

export const openSpill = async (bytes: number): Promise<Spill> => (await import("./spill-page.ts")).openSpill(bytes);

export async function installWebCodecs(): Promise<"browser"> {
  if (typeof VideoEncoder === "undefined" || typeof VideoDecoder === "undefined") {
    throw new CogwheelError(
      "video",
      "MP4 and WebM need WebCodecs, got a browser without VideoEncoder; " +
        "choose gif, or use Chrome or Edge 94, Safari 16.4, Firefox 130 or newer.",
    );
  }
  return "browser";
}

function noFiles(what: string): CogwheelError {
  return new CogwheelError(
    "video",
    `a browser has no file paths, got "${what}"; use encodeVideo and decodeVideo, which take and give bytes.`,
  );
}
export async function checkWritable(path: string, _kind: "file" | "folder"): Promise<void> {
  throw noFiles(path);
}
export async function openOutput(path: string, _kind: "file" | "folder"): Promise<OutputFiles> {
  throw noFiles(path);
}
export function keptAt(folder: string): never {
  throw noFiles(folder);
}

export async function listFolder(path: string): Promise<string[] | undefined> {
  throw noFiles(path);
}
/** A page keeps no tables of measurements. */
export const KEEPS_TABLES = false;
export async function readTuning(_file: string): Promise<undefined> {
  return undefined;
}
export async function namedTuning(): Promise<undefined> {
  return undefined;
}
export async function writeTuning(file: string, _text: string): Promise<string> {
  throw noFiles(file);
}
