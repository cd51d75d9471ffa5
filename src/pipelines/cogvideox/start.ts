/**
 * The state before the first step. Draws come in the order of diffusers' pipelines: the posterior of the image or video, then the starting
 * noise, then the sampler's.
 */
import type { DenoiseState } from "../../models/cogvideox/model.ts";
import type { Run } from "./running.ts";
import { latentsShape } from "./sizes.ts";

export async function startState(run: Run): Promise<DenoiseState> {
  const { request, draws } = run;
  const { model, task, plan } = request;
  const { shape, given, addNoise } = plan;
  const { condition, latents: clean } = await encoded(run);
  // A run that goes on has drawn its noise already, unless that was given.
  const noise = given && (given.givenNoise || given.step === 0) ? given.latents : draws.start(latentsShape(model, shape));
  const kept = { task, ...(condition ? { condition } : {}), ...(given?.givenNoise ? { givenNoise: true } : {}) };
  if (given && given.step > 0) return { ...given, ...kept };
  if (!clean) return { step: 0, latents: noise, ...kept };
  return { step: 0, latents: noise.map((n, i) => clean[i]! * addNoise.original + n * addNoise.noise), ...kept };
}

/** A chunk of its own: most generations begin from text alone. */
const encoded = async (run: Run) => (run.request.task === "text" ? {} : await (await import("./encode-frames.ts")).encodeFrames(run));
