/** The VAE of a run: loaded, and prepared for a size where it takes pictures whole. */
import { CausalVae, type VaeRunOptions } from "../../models/vae/model.ts";
import type { ExactTiling } from "../../models/vae/tiling.ts";
import type { DecodedFormat, VideoShape } from "../../models/vae/batches.ts";
import { defined } from "../options.ts";
import type { Held } from "../kept-parts.ts";
import type { LatentColors } from "../preview.ts";
import type { GenerationRequest } from "./request.ts";
import { loading, type Run } from "./running.ts";
import { plansOf } from "./stages.ts";

export const createVae = async ({ request: { model }, options }: Run): Promise<CausalVae> =>
  CausalVae.create(model.gpu, model.configs.vae, await model.files.weights("vae", options), { dtype: model.dtype });

/** How a VAE runs whose work is shared out over workers. */
export function overWorkers(
  { request, options: { share } }: Run,
  vae: CausalVae,
  stage: "encoder" | "decoder",
): Pick<VaeRunOptions, "workers" | "split"> | undefined {
  if (!share?.clips) return undefined;
  const planned = request.requirements.find((one) => one.stage === stage)!;
  return { workers: share.clips.runner(vae, planned), split: share.clips.axis };
}

/** Exact tiling with tiles as they were planned for the memory that there is. */
export function exactTiling({ requirements }: GenerationRequest, stage: "encoder" | "decoder"): ExactTiling {
  const { tileBytes, host, spilled } = requirements.find((one) => one.stage === stage) ?? {};
  return { mode: "exact", ...defined({ budgetBytes: tileBytes, hostBytes: spilled ? host : undefined }) };
}

export async function holdVae(
  run: Run,
  part: "encode" | "decode",
  size: VideoShape,
  report: (done: number) => void,
  format: DecodedFormat = "sample",
): Promise<Held<CausalVae>> {
  const { model, tiling, plan } = run.request;
  const held = await model.parts.hold("vae", "", () => createVae(run));
  try {
    if (tiling === "none" && !run.options.share?.clips) {
      const planned =
        part === "encode" ? ({ stage: "encoder", format: "sample" } as const) : ({ stage: "decoder", format: "rgba" } as const);
      const plans = format === planned.format ? plansOf(plan.stages, planned.stage) : [];
      await held.part.prepare(part, size, { format, plans, ...loading(run, report) });
    }
    return held;
  } catch (error) {
    held[Symbol.dispose]();
    throw error;
  }
}

/** How this checkpoint's latents look, for previews: asked once, of a VAE that is there already or one for this alone. */
export async function latentColors(run: Run, there?: CausalVae): Promise<LatentColors> {
  const { model } = run.request;
  return (model.colors ??= await run.clock.time("prepare preview", async () => {
    const { probeColors } = await import("../preview.ts"); // a chunk of its own
    if (there) return await probeColors(there, run.options.signal);
    using vae = await createVae(run);
    return await probeColors(vae, run.options.signal);
  }));
}
