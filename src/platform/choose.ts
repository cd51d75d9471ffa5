/**
 * Chooses the adapter: a GPU; else the system's lavapipe, if Dawn accepts it; else SwiftShader from npm. The launcher decides by probing in
 * child processes, and passes the result in COGWHEEL_PROBED to the processes that it starts. A process that was started without the
 * launcher decides for itself, in the same order.
 */
import { delimiter } from "node:path";
import { CogwheelError } from "../base/errors.ts";
import { applyEnvironment, type Candidate, type Environment, type ProbeAdapters, type ProbedAdapter } from "./probe.ts";
import { unpackSwiftShader } from "./swiftshader.ts";
import { refuseTightAddressSpace } from "./memory-node.ts";
import type { AdapterSource, ListedAdapter } from "./types.ts";
import { driverManifests, hasVulkanLoader, lavapipeManifest, MESA_ADVICE, runtimeFolder, SWIFTSHADER_ADVICE } from "./vulkan.ts";

export interface ChosenAdapter extends Candidate {
  /** What the source has as its best, where nothing was asked for. */
  best?: ChosenBest;
  /** Dawn's name of the device, where the source has several and the wanted one may not be its best. */
  device?: string;
}

export type ChosenBest = Pick<ListedAdapter, "name" | "kind">;

/** What is in COGWHEEL_PROBED: a choice that was made, here or by the process that started this one. */
export interface Session {
  /** The launcher's path, for more probes. */
  launcher?: string;
  /** What was asked for, if anything was. */
  want?: string;
  device?: string;
  /** What was chosen where nothing was asked for. */
  best?: ChosenBest;
  /** Why nothing could be chosen. */
  error?: string;
  /** The drivers that were named before the choice. */
  before: Partial<Record<(typeof DRIVERS)[number], string>>;
}

/** The variables by which the Vulkan loader is told its drivers; the first one wins. */
const DRIVERS = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] as const;

export function readSession(): Session | undefined {
  try {
    const session = JSON.parse(process.env["COGWHEEL_PROBED"] || "null") as Session | null;
    return session && typeof session.before === "object" && session.before !== null ? session : undefined;
  } catch {
    return undefined; // it is not ours
  }
}

/** Takes back the choice of drivers, before another is made. */
export function leaveSession({ before }: Session): void {
  applyEnvironment({ COGWHEEL_PROBED: undefined, ...driversNamed(before) });
}

function driversNamed(env: Environment): Environment {
  return Object.fromEntries(DRIVERS.map((name) => [name, env[name]]));
}

/**
 * Chooses, and says so in the environment that it returns. That nothing could be chosen is in there too: whoever needs an
 * adapter will say it, and `--help` works without one.
 */
export async function beginSession(want: string | undefined, probe: ProbeAdapters, launcher?: string): Promise<Environment> {
  const session: Session = { before: driversNamed(process.env) as Session["before"] };
  if (launcher !== undefined) session.launcher = launcher;
  if (want !== undefined) session.want = want;
  let env: Environment = {};
  try {
    const choice = await chooseAdapter(want, probe);
    env = choice.env;
    if (choice.device !== undefined) session.device = choice.device;
    if (choice.best !== undefined) session.best = choice.best;
  } catch (error) {
    if (!(error instanceof CogwheelError)) throw error;
    session.error = error.message.replace(/^\[adapter\] /, "");
  }
  return { ...env, COGWHEEL_PROBED: JSON.stringify(session) };
}

/** The sources that this machine may have, each with its environment. Only Linux has more than one. */
export async function candidates(): Promise<Candidate[]> {
  if (process.platform !== "linux") return [{ source: "system", env: {} }];
  const swiftshader = await unpackSwiftShader();
  const common = driversNamed(process.env);
  const runtime = process.env["XDG_RUNTIME_DIR"] ? undefined : runtimeFolder();
  if (runtime) common["XDG_RUNTIME_DIR"] = runtime;
  if (!hasVulkanLoader() && swiftshader) {
    const present = process.env["LD_LIBRARY_PATH"];
    common["LD_LIBRARY_PATH"] = swiftshader.folder + (present ? delimiter + present : "");
  }
  const list: Candidate[] = [{ source: "system", env: common }];
  const lavapipe = lavapipeManifest();
  if (lavapipe) list.push({ source: "lavapipe", env: { ...common, VK_DRIVER_FILES: lavapipe } });
  if (swiftshader) list.push({ source: "swiftshader", env: { ...common, VK_DRIVER_FILES: swiftshader.icd } });
  return list;
}

const NAMED: Record<string, { sources: AdapterSource[]; fits: (adapter: ProbedAdapter) => boolean }> = {
  gpu: { sources: ["system"], fits: (adapter) => adapter.kind === "hardware" },
  lavapipe: { sources: ["lavapipe", "system"], fits: (adapter) => /llvmpipe|lavapipe/i.test(adapter.name) },
  swiftshader: { sources: ["swiftshader", "system"], fits: (adapter) => /swiftshader/i.test(adapter.name) },
};

export async function chooseAdapter(want: string | undefined, probe: ProbeAdapters): Promise<ChosenAdapter> {
  refuseTightAddressSpace();
  const all = await candidates();
  if (want === undefined) {
    for (const candidate of all) {
      const [best] = await probe(candidate, "best");
      if (best) return { ...candidate, best: { name: best.name, kind: best.kind } };
    }
    throw noAdapter(all);
  }
  const name = want.trim().toLowerCase();
  const { sources, fits } = NAMED[name] ?? {
    sources: all.map(({ source }) => source),
    fits: (adapter: ProbedAdapter) =>
      name !== "" && `${adapter.name} ${adapter.device} ${adapter.vendor} ${adapter.architecture}`.toLowerCase().includes(name),
  };
  const seen: string[] = [];
  for (const source of new Set([...sources, ...all.map((candidate) => candidate.source)])) {
    const candidate = all.find((one) => one.source === source);
    const probed = candidate ? await probe(candidate, "all") : [];
    // One name may be part of another.
    const found = sources.includes(source) && (probed.find((one) => one.name.toLowerCase() === name) ?? probed.find(fits));
    if (found) return { ...candidate!, ...(found.device === undefined ? {} : { device: found.device }) };
    for (const one of probed) if (!seen.includes(one.name)) seen.push(one.name);
  }
  if (seen.length === 0) throw noAdapter(all);
  const told = process.env["COGWHEEL_ADAPTER"] === want ? "COGWHEEL_ADAPTER" : "--adapter";
  const remedy = { gpu: "install the GPU's driver", lavapipe: MESA_ADVICE, swiftshader: SWIFTSHADER_ADVICE }[name];
  throw new CogwheelError(
    "adapter",
    `${told} must be gpu, lavapipe, swiftshader or part of an adapter's name, got "${want}", and this machine has: ` +
      `${seen.join(", ")}; choose one of these${remedy ? `, or ${remedy}` : ""}.`,
  );
}

/** All adapters of all sources, each once, the default one first. */
export async function listEveryAdapter(probe: ProbeAdapters): Promise<ListedAdapter[]> {
  const list: ProbedAdapter[] = [];
  for (const candidate of await candidates()) {
    for (const adapter of await probe(candidate, "all")) {
      if (!list.some(({ name }) => name === adapter.name)) list.push(adapter);
    }
  }
  list.sort((a, b) => Number(b.kind === "hardware") - Number(a.kind === "hardware"));
  return list.map(({ device: _, ...adapter }) => {
    const name = Object.keys(NAMED).find(
      (key) => NAMED[key]!.fits(adapter as ProbedAdapter) && list.find(NAMED[key]!.fits)!.name === adapter.name,
    );
    return { ...adapter, select: name ?? adapter.name };
  });
}

function noAdapter(all: readonly Candidate[]): CogwheelError {
  if (process.platform !== "linux")
    return new CogwheelError(
      "adapter",
      "WebGPU needs a GPU with a driver, " +
        `got none from ${process.platform === "darwin" ? "Metal" : "Direct3D 12 or Vulkan"}; update the GPU's driver.`,
    );
  const swiftshader = all.some(({ source }) => source === "swiftshader");
  const loader = hasVulkanLoader();
  const drivers = driverManifests({ ...process.env, ...all[0]!.env });
  const got = [
    drivers.length === 0 ? "no driver in vulkan/icd.d" : loader ? `drivers that it refuses (${drivers.join(", ")})` : "drivers",
    ...(loader ? [] : ["no loader libvulkan.so.1"]),
    swiftshader ? "SwiftShader in @sparticuz/chromium" : "no @sparticuz/chromium",
  ];
  // SwiftShader brings a loader, but a process that runs already cannot be made to see it.
  const restart = swiftshader && !loader;
  return new CogwheelError(
    "adapter",
    `WebGPU needs a Vulkan driver that Dawn accepts, got ${got.join(", ")}; ` +
      (restart ? "start the script with `npx cogwheel-webgpu --exec SCRIPT`, which lets Node see SwiftShader's loader, or " : "") +
      `${MESA_ADVICE}; or ${SWIFTSHADER_ADVICE}.`,
  );
}

/** How to get a faster adapter than a software one. */
export function adviceFor(name: string): string {
  if (/swiftshader/i.test(name))
    return (
      "slow: SwiftShader runs on the CPU, without f16; a GPU, " +
      "or Mesa's lavapipe (`apt-get install mesa-vulkan-drivers`, Mesa 24 or newer), is faster"
    );
  return "slow: this adapter runs on the CPU; a GPU with its driver is faster";
}
