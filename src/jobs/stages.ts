/**
 * The stages of a job, which different workers may do: each leaves in the store what the next one needs, a prompt's embeddings and latents,
 * so that no worker needs the weights of all.
 */
/** In their order: the prompt is encoded, the latents denoised, the frames decoded. */
export const STAGES = ["text", "denoise", "decode"] as const;
export type JobStage = (typeof STAGES)[number];

/** The component whose weights a stage needs. */
export const COMPONENTS: Readonly<Record<JobStage, string>> = { text: "text_encoder", denoise: "transformer", decode: "vae" };

/** Digests by stage, and of the configs: what two workers must have alike where both have it. */
export type Digests = Readonly<Partial<Record<JobStage | "configs", string>>>;

export const isAlike = (a: Digests, b: Digests): boolean =>
  a.configs === b.configs && STAGES.every((stage) => a[stage] === undefined || b[stage] === undefined || a[stage] === b[stage]);

/** How far a job is. */
export interface Reached {
  readonly step: number;
  readonly steps: number;
  readonly encoded?: boolean;
  readonly request: { readonly kind: string };
}

/** Anything that another worker goes on from? */
export const isBegun = ({ step, encoded }: Pick<Reached, "step" | "encoded">): boolean => step > 0 || encoded === true;

export function nextStage({ step, steps, encoded }: Reached): JobStage {
  if (step > 0 && step === steps) return "decode";
  return encoded ? "denoise" : "text";
}

/** What begins from a picture or a video has it encoded before its first step, by the worker that takes that. */
const needsFrames = ({ step, request }: Reached): boolean => step === 0 && request.kind !== "text";

export const canDenoise = (stages: ReadonlySet<JobStage>, reached: Reached): boolean =>
  stages.has("denoise") && (stages.has("decode") || !needsFrames(reached));

/** Does a worker of these stages do what comes next? */
export function canTake(stages: ReadonlySet<JobStage>, reached: Reached): boolean {
  const next = nextStage(reached);
  return next === "denoise" ? canDenoise(stages, reached) : stages.has(next);
}
