/** A small checkpoint as a repository on the hub: what opening takes, and what else lies there. */
import { writeSafetensors } from "../../src/files/safetensors.ts";

export const ID = "some-org/Some-Model_2b";
export const COMMIT = "a".repeat(40);
export const text = (value: unknown): Uint8Array => new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));

/** A safetensors file of `rows` KiB a tensor whose bytes follow from the seed. */
export function weights(names: string[], rows: number, seed: number): Uint8Array {
  return writeSafetensors(
    Object.fromEntries(
      names.map((name, i) => {
        const data = new Uint8Array(rows * 1024).map((_, j) => (j * 31 + (j >> 8) * 7 + seed + i) & 255);
        return [name, { dtype: "F16" as const, shape: [rows, 512], data }];
      }),
    ),
  );
}

export const SHARDS = ["text_encoder/model-00001-of-00002.safetensors", "text_encoder/model-00002-of-00002.safetensors"] as const;
export const WEIGHTS = "transformer/diffusion_pytorch_model.safetensors";
export const VAE = "vae/diffusion_pytorch_model.safetensors";
/** What opening takes. */
export const NEEDED: Record<string, Uint8Array> = {
  "model_index.json": text({
    _class_name: "CogVideoXPipeline",
    scheduler: ["diffusers", "CogVideoXDDIMScheduler"],
    text_encoder: ["transformers", "T5EncoderModel"],
    tokenizer: ["transformers", "T5Tokenizer"],
    transformer: ["diffusers", "CogVideoXTransformer3DModel"],
    vae: ["diffusers", "AutoencoderKLCogVideoX"],
  }),
  "scheduler/scheduler_config.json": text({ num_train_timesteps: 1000 }),
  "tokenizer/spiece.model": text("pieces"),
  "tokenizer/tokenizer_config.json": text({}),
  "text_encoder/config.json": text({ d_model: 8 }),
  "text_encoder/model.safetensors.index.json": text({
    weight_map: { a: "model-00001-of-00002.safetensors", b: "model-00002-of-00002.safetensors" },
  }),
  [SHARDS[0]]: weights(["a"], 64, 1),
  [SHARDS[1]]: weights(["b"], 64, 2),
  "transformer/config.json": text({ num_layers: 2 }),
  [WEIGHTS]: weights(["w"], 600, 3),
  "vae/config.json": text({ latent_channels: 4 }),
  [VAE]: weights(["v"], 96, 4),
};
