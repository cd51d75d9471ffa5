/**
 * A model's text encoder and VAE by themselves, for what training encodes once and keeps. Each is loaded by its first use, and gone when it
 * is disposed of: the transformer trains in the memory that they leave.
 */
import type { Gpu } from "../../gpu/gpu.ts";
import { CausalVae } from "../../models/vae/model.ts";
import type { LatentPosterior } from "../../models/vae/posterior.ts";
import { T5Encoder } from "../../models/t5/model.ts";
import { defined } from "../options.ts";
import { vaeRun } from "../vae-run.ts";
import type { Model } from "./model.ts";
import type { Planner } from "./planner.ts";
import { requiredSizes } from "./sizes.ts";
import { plansOf } from "./stages.ts";

export interface EncodeCall {
  readonly signal?: AbortSignal;
  readonly onWarning?: (message: string) => void;
}

export class Encoders implements Disposable {
  #text: Promise<T5Encoder> | undefined;
  #vae: Promise<CausalVae> | undefined;

  constructor(
    private readonly model: Model,
    private readonly planner: Planner,
  ) {}

  get gpu(): Gpu {
    return this.model.gpu;
  }

  /** Tokens of a text. */
  get textLength(): number {
    return this.model.configs.transformer.max_text_seq_length;
  }

  /** What tells a component from another one: its files and its config. */
  async component(part: "text_encoder" | "vae" | "transformer"): Promise<readonly unknown[]> {
    const { files, configs } = this.model;
    const config = { text_encoder: configs.text, vae: configs.vae, transformer: configs.transformer }[part];
    return [(await files.version(part)) ?? files.label, config];
  }

  /** What a result follows from besides its input: the component, the type, the adapter and its kernels. */
  async madeBy(part: "text_encoder" | "vae"): Promise<readonly unknown[]> {
    return [...(await this.component(part)), this.model.dtype, this.model.gpu.tuningHeader];
  }

  /** [T, E]: what the transformer reads of a text; `cut` tells what of it was too long. */
  async text(text: string, { signal, onWarning }: EncodeCall = {}): Promise<{ data: Float32Array; cut: string | null }> {
    const { files, configs, gpu, dtype } = this.model;
    const length = this.textLength;
    const encoded = (await files.tokenizer()).encode(text, length);
    this.#text ??= (async () => {
      const { stages } = this.planner.plan(this.model, requiredSizes(this.model, { guidance: 1 }), undefined);
      return T5Encoder.create(gpu, configs.text, await files.weights("text_encoder", defined({ onWarning })), {
        batch: 1,
        length,
        dtype,
        ...defined({ plan: plansOf(stages, "text encoder")[0], signal }),
      });
    })();
    const encoder = await this.#text;
    return { data: await encoder.encode(Int32Array.from(encoded.ids), defined({ signal })), cut: encoded.cut };
  }

  /** The posterior of a clip's latents. @param pixels [1, 3, T, H, W] in −1…1 */
  async clip(
    pixels: Float32Array,
    size: { readonly frames: number; readonly height: number; readonly width: number },
    { signal, onWarning }: EncodeCall = {},
  ): Promise<LatentPosterior> {
    const { gpu, configs, dtype, files } = this.model;
    this.#vae ??= (async () => CausalVae.create(gpu, configs.vae, await files.weights("vae", defined({ onWarning })), { dtype }))();
    const shape = { batch: 1, ...size };
    const vae = await this.#vae;
    return await vae.encode(pixels, shape, vaeRun({ config: configs.vae, gpu, dtype }, "encode", shape, defined({ signal })));
  }

  /** Frees what was loaded. */
  async release(): Promise<void> {
    const held = [this.#text, this.#vae];
    this.#text = this.#vae = undefined;
    for (const one of await Promise.allSettled(held)) if (one.status === "fulfilled") one.value?.[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    void this.release();
  }
}
