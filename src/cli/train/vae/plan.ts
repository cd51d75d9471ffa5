/** `cogwheel train vae --plan`: what every stage will take, from configs alone. */
import type { VideoVae } from "../../../pipelines/video-vae.ts";
import type { LpipsJudge } from "../../../training/vae/judges.ts";
import { vaeStages } from "../../../training/vae/options.ts";
import { vaeTrainingNeeds, type VaeTrainingNeeds } from "../../../training/vae/needs.ts";
import { print, printJson } from "../../terminal/output.ts";
import { printNeeds } from "../plan.ts";
import type { VaeTrainConfig } from "./config.ts";
import { largestShape } from "./trial.ts";

type VaeStagePlan = Omit<VaeTrainingNeeds, "plans"> & { readonly steps: number };

/** What the largest clips of every stage take. @param lpips the network, where one is asked */
export function printVaePlan({ options, stages }: VaeTrainConfig, vae: VideoVae, lpips: LpipsJudge | undefined, json: boolean): void {
  const { gpu, config, dtype } = vae;
  const asked = { ...options, ...(lpips ? { lpips } : {}) };
  const planned = vaeStages(asked).map(({ index, steps, batch, losses }): VaeStagePlan => {
    const shape = largestShape(stages[index]!, vae, batch);
    const { plans: _, ...needs } = vaeTrainingNeeds({ config, weights: { type: () => dtype }, caps: gpu.caps }, asked, shape, losses);
    return { steps, ...needs };
  });
  if (json) {
    printJson({ adapter: gpu.name, dtype, stages: planned });
    return;
  }
  print(`${gpu.name}, ${dtype}`);
  for (const [i, { shape, ...needs }] of planned.entries()) {
    const name = stages[i]!.name && `${stages[i]!.name}: `;
    print(`${name}${shape.clips} × ${shape.frames} frames of ${shape.width} × ${shape.height}`);
    printNeeds({ ...needs, seconds: null });
  }
}
