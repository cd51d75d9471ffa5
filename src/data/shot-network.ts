/** TransNet V2 as curation asks networks for changes of shot. */
import type { ShotNetwork } from "../curation/cuts/network.ts";
import type { TransNet } from "../models/transnet/model.ts";

/** Rises when the same network gives the same frames other scores. */
const VERSION = 1;

/** For `Curation` and `detectTransitions`. Reads the network's weights once, to tell it from others. */
export async function shotNetworkOf(network: TransNet): Promise<ShotNetwork> {
  return {
    key: `transnet ${VERSION} ${await network.digest()}`,
    score: async (frames, read, signal) => (await network.score(frames, read, signal ? { signal } : {})).oneHot,
  };
}
