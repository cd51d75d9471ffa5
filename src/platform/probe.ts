/** Asks Dawn what it accepts under an environment: in a child process, since a broken driver ends the process that opens it. */
import { spawn } from "node:child_process";
import { createDawn, dawnDevices } from "./dawn.ts";
import type { AdapterSource, ListedAdapter } from "./types.ts";

/** The best adapter only, or all of them. */
export type ProbeDepth = "best" | "all";

export interface ProbedAdapter extends Omit<ListedAdapter, "select"> {
  /** Dawn's name for it, which `createDawn` takes. */
  device: string | undefined;
}

/** Environment variables to set, or to delete where `undefined`. */
export type Environment = Record<string, string | undefined>;

/** A source of adapters and the environment that a process must be started with for it. */
export interface Candidate {
  source: AdapterSource;
  env: Environment;
}

export type ProbeAdapters = (candidate: Candidate, depth: ProbeDepth) => Promise<ProbedAdapter[]>;

const MARK = "cogwheel-probe ";
const PROBE_MS = 20_000;

function describe(adapter: GPUAdapter, device?: string): ProbedAdapter {
  const { info, limits } = adapter;
  const { subgroupMinSize: min, subgroupMaxSize: max } = info;
  return {
    name: info.description || info.device || `${info.vendor} ${info.architecture}`,
    kind: info.isFallbackAdapter ? "software" : "hardware",
    device,
    vendor: info.vendor,
    architecture: info.architecture,
    subgroups: min && max ? { min, max } : undefined,
    features: [...adapter.features].sort(),
    limits: {
      maxBufferSize: limits.maxBufferSize,
      maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
      maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
    },
  };
}

/** What Dawn accepts in this process, as its environment stands. */
async function askDawn(depth: ProbeDepth): Promise<ProbedAdapter[]> {
  const found: ProbedAdapter[] = [];
  for (const device of depth === "best" ? [undefined] : await dawnDevices()) {
    const adapter = await (await createDawn(device)).requestAdapter({ powerPreference: "high-performance" });
    if (adapter) found.push(describe(adapter, device));
  }
  return found;
}

/** Sets the environment variables that the Vulkan loader reads anew each time; true if that is all that was asked for. */
export function applyEnvironment(env: Environment): boolean {
  const { LD_LIBRARY_PATH, ...others } = env;
  for (const [name, value] of Object.entries(others)) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
  return LD_LIBRARY_PATH === undefined; // the dynamic linker read it when the process began
}

/** Probes in this process, for an app that was not started by the launcher. The environment stays as the last probe left it. */
export const probeHere: ProbeAdapters = async ({ env }, depth) => (applyEnvironment(env) ? askDawn(depth) : []);

/** Probes in a child, which is the launcher started with `--probe`. */
export function probeInChild(launcher: string): ProbeAdapters {
  return ({ env }, depth) =>
    new Promise((resolve, reject) => {
      const child = spawn(process.execPath, [launcher, "--probe", depth], {
        env: { ...process.env, ...env },
        stdio: ["ignore", "pipe", "ignore"],
        timeout: PROBE_MS,
        killSignal: "SIGKILL",
        windowsHide: true,
      });
      let output = "";
      // Without files left, a process has no streams.
      child.stdout?.setEncoding("utf8").on("data", (text: string) => (output += text));
      child.on("error", (error: NodeJS.ErrnoException) => {
        // That no process could be started says nothing of drivers.
        if (["EMFILE", "ENFILE", "EAGAIN", "ENOMEM"].includes(error.code ?? "")) reject(error);
        else resolve([]);
      });
      child.on("close", () => {
        const line = output.split("\n").find((text) => text.startsWith(MARK));
        resolve(line ? (JSON.parse(line.slice(MARK.length)) as ProbedAdapter[]) : []);
      });
    });
}

/** The child's part. A device is opened too: some drivers fail only then. */
export async function answerProbe(depth: ProbeDepth): Promise<void> {
  const found = await askDawn(depth);
  if (depth === "best" && found.length > 0) {
    const adapter = await (await createDawn()).requestAdapter({ powerPreference: "high-performance" });
    (await adapter!.requestDevice()).destroy();
  }
  console.log(MARK + JSON.stringify(found));
}
