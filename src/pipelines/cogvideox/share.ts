/** A generation of which this process does a part; the rest is another's. A chunk of its own: most pages do all. */
import { CogwheelError } from "../../base/errors.ts";
import { expectFloats } from "../../base/finite.ts";
import { elements } from "../../base/shape.ts";
import type { Partner } from "../../models/cogvideox/branches.ts";
import type { Capabilities } from "../../gpu/capabilities.ts";
import type { VaeGraphOptions } from "../../models/vae/batches.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import type { ClipRunner, ClipTools } from "../../models/vae/split/clip.ts";
import type { StageMemory } from "../requirements.ts";

/** What a clip takes, and the smallest limit that it could be planned for. */
export interface ClipNeeds {
  readonly memory: StageMemory;
  readonly least: () => number;
}

/** How the VAE's work is planned that is a clip over workers: what one of them takes, cut to keep within a limit where that can be. */
export interface ClipPlanner {
  readonly axis: "time" | "space";
  plan(config: VaeConfig, caps: Capabilities, shape: Omit<VaeGraphOptions, "continues" | "continued">, limit: number): ClipNeeds;
}

export interface WorkShare {
  /**
   * What `encodePrompt` gave for this prompt [2, T, E], without guidance [1, T, E]: no text encoder is loaded, and its weights need not be
   * there.
   */
  readonly promptEmbeds?: Float32Array;
  /** End with the latents of the last step: nothing is decoded, `video.state` has them, and the VAE's weights need not be there. */
  readonly latentsOnly?: boolean;
  /** Of so many samples of this prompt and seed make the one with this index, from 0 on, with the noise that it has among them. */
  readonly sample?: { readonly index: number; readonly of: number };
  /** Another device that computes one of the two branches of guidance, which then are computed by themselves. */
  readonly partner?: Partner;
  /** Runs the VAE's work as a clip over workers, wherever they are (docs/vae.md, over workers); without tiling. */
  readonly clips?: ClipPlanner & {
    /** @param planned what this worker takes alone */
    runner(tools: ClipTools, planned: StageMemory): ClipRunner;
  };
}

/** @param embedded the shape of the prompt's embeddings @param samples that are made together */
export function checkShare({ promptEmbeds, sample }: WorkShare, embedded: readonly number[], samples = 1): void {
  if (promptEmbeds) {
    expectFloats(promptEmbeds, "generate", "promptEmbeds");
    if (promptEmbeds.length !== elements(embedded))
      throw new CogwheelError(
        "generate",
        `promptEmbeds must be [${embedded.join(", ")}] = ${elements(embedded)} values, got ${promptEmbeds.length}; ` +
          "encode the prompt with this model and this guidance",
      );
  }
  if (!sample) return;
  const { index, of } = sample;
  if (samples === 1 && Number.isInteger(of) && Number.isInteger(index) && index >= 0 && index < of) return;
  throw new CogwheelError(
    "generate",
    `sample must be an index below the number of samples, and goes without samples, got ${index} of ${of}; count from 0`,
  );
}
