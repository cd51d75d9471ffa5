/** Which peers this machine has, each started in a process of its own. */
import { join } from "node:path";
import { packageRoot } from "../../src/cli/package-root.ts";
import { ContenderProcess, type Launch } from "./process.ts";
import { peerInstalled } from "./installed.ts";

const script = (id: string): Launch => ({ id, command: process.execPath, args: [join(packageRoot, "dist", "bench", `${id}.js`)] });

const PEERS: readonly { launch: Launch; packages: readonly string[] }[] = [
  { launch: script("onnxruntime"), packages: ["onnxruntime-node"] },
  { launch: script("tfjs"), packages: ["@tensorflow/tfjs-core", "@tensorflow/tfjs-backend-webgpu"] },
  { launch: script("jax"), packages: ["@jax-js/jax"] },
  {
    launch: {
      id: "torch",
      command: process.env["COGWHEEL_PYTHON"] ?? "python3",
      args: [join(packageRoot, "bench", "contenders", "torch_cpu.py")],
    },
    packages: [],
  },
];

/** Those that are installed and start, of `only` where given; for the others a line that says why not. */
export async function findPeers(folder: string, only?: readonly string[]): Promise<{ peers: ContenderProcess[]; missing: string[] }> {
  const peers: ContenderProcess[] = [];
  const missing: string[] = [];
  for (const { launch, packages } of PEERS) {
    if (only && !only.includes(launch.id)) continue;
    if (!packages.every(peerInstalled)) {
      missing.push(`${launch.id} is not installed: npm run bench:peers`);
      continue;
    }
    const process_ = new ContenderProcess(launch, folder);
    try {
      await process_.start();
      peers.push(process_);
    } catch (error) {
      missing.push(`${launch.id} cannot be run here: ${(error as Error).message}`);
    }
  }
  return { peers, missing };
}
