/** What test/browser/training.test.ts runs in a page and in Node: the same modules, bundled for a browser there. */
import { TorchGenerator } from "../../src/diffusion/torch-random.ts";
import { CogVideoX } from "../../src/index.ts";
import type { CheckpointSource } from "../../src/sources/source.ts";
import type { TrainingSample } from "../../src/training/training-sample.ts";
import { train } from "../../src/training/train.ts";

export interface TrainedAdapter {
  readonly adapter: string;
  readonly losses: readonly number[];
  readonly file: Uint8Array;
  readonly seconds: number;
}

export async function trainAdapter(from: string | CheckpointSource, steps: number): Promise<TrainedAdapter> {
  await using model = await CogVideoX.open(from, { dtype: "f32" });
  const { transformer: c } = model.configs;
  const generator = new TorchGenerator(11);
  const shape = [3, c.out_channels, 8, 8] as const;
  const samples: TrainingSample[] = Array.from({ length: 4 }, () => ({
    latents: generator.randn([...shape]),
    shape,
    text: generator.randn([c.max_text_seq_length, c.text_embed_dim]),
  }));
  await using run = train(model, samples, { steps, seed: 5, lora: { rank: 8 }, optimizer: { lr: 1e-3 } });
  const losses: number[] = [];
  const begun = performance.now();
  for await (const { loss } of run) losses.push(loss);
  const seconds = (performance.now() - begun) / 1000;
  return { adapter: model.gpu.name, losses, file: await run.adapter(), seconds };
}

/** In the page: what can be told over the line. */
export async function trainInPage(url: string, steps: number): Promise<Omit<TrainedAdapter, "file"> & { readonly file: string }> {
  const { file, ...rest } = await trainAdapter(url, steps);
  let text = "";
  for (let i = 0; i < file.length; i += 4096) text += String.fromCharCode(...file.subarray(i, i + 4096));
  return { ...rest, file: btoa(text) };
}
