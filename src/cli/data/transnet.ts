/** The network that `--transnet FILE` names, on the adapter that is there. */
import { basename, dirname, resolve } from "node:path";
import type { ShotNetwork } from "../../curation/cuts/network.ts";
import { shotNetworkOf } from "../../data/shot-network.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { TransNet } from "../../models/transnet/model.ts";
import { folderSource } from "../../sources/folder.ts";

/** Does work with the network. @param weights the path of its file */
export async function withShotNetwork<Result>(weights: string, work: (network: ShotNetwork) => Promise<Result>): Promise<Result> {
  const path = resolve(weights);
  await using source = await folderSource(dirname(path));
  // Refused before a device is opened.
  await source.size(basename(path));
  await using gpu = await Gpu.open();
  using network = await TransNet.open(gpu, source, basename(path));
  return await work(await shotNetworkOf(network));
}
