/** Files of adapters, and what is given in place of one. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeSafetensors } from "../../src/files/safetensors.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { loraChanges } from "../../src/models/lora/changes.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { loadLora } from "../../src/pipelines/lora-file.ts";
import type { GenerateOptions } from "../../src/pipelines/options.ts";
import { testGpu } from "../support/gpu.ts";
import { fileOf, pairs, plain } from "../support/lora.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";

let gpu: Gpu;
let folder: string;
let files: string;
beforeAll(async () => {
  gpu = await testGpu();
  folder = await tinyCheckpoint();
  files = await mkdtemp(join(tmpdir(), "cogwheel-lora-"));
});
afterAll(async () => {
  await rm(files, { recursive: true, force: true });
  await removeTinyCheckpoints();
});

const base = { prompt: "a red circle moving left", seed: 7, frames: 1, steps: 2 } as const;
describe("files and their configs", () => {
  const peft = (module: string, part: "A" | "B") => `base_model.model.${module}.lora_${part}.weight`;
  const config = { peft_type: "LORA", r: 5, lora_alpha: 10, target_modules: ["proj_out"] };

  it("PEFT's folder is read with its config, its file alone is not", async () => {
    const bytes = fileOf(pairs({ proj_out: [16, 32] }, 5, 1, peft));
    await mkdir(join(files, "peft"));
    await writeFile(join(files, "peft/adapter_model.safetensors"), bytes);
    await expect(loadLora(join(files, "peft"))).rejects.toThrow(
      /an adapter that PEFT saved must have adapter_config\.json beside it, which holds its lora_alpha, got none/,
    );
    await expect(loadLora(bytes)).rejects.toThrow(/got none; give the folder that holds both, or loadLora\(bytes, \{ config \}\)/);
    await writeFile(join(files, "peft/adapter_config.json"), JSON.stringify(config));
    expect((await loadLora(join(files, "peft"))).config).toEqual(config);
    expect((await loadLora(join(files, "peft/adapter_model.safetensors"))).config).toEqual(config);
    expect((await loadLora(bytes, { config })).config).toEqual(config);
    // A config of PEFT's says nothing of a file of diffusers' beside it.
    await writeFile(join(files, "peft/other.safetensors"), fileOf(pairs({ proj_out: [16, 32] }, 5, 1, plain)));
    expect((await loadLora(join(files, "peft/other.safetensors"))).config).toBeUndefined();
  });

  it("diffusers' metadata is read as diffusers reads it", async () => {
    const load = (metadata: Record<string, unknown>, name = plain) =>
      loadLora(fileOf(pairs({ proj_out: [16, 32] }, 5, 1, name), { lora_adapter_metadata: JSON.stringify(metadata) }));
    expect(
      (
        await load({
          "transformer.r": 5,
          "transformer.lora_alpha": 10,
          "transformer.target_modules": ["to_q"],
          "transformer.exclude_modules": ".*",
        })
      ).config,
    ).toEqual({ r: 5, lora_alpha: 10 });
    expect((await load(config, (module, part) => `${module}.lora_${part}.weight`)).config).toEqual({
      peft_type: "LORA",
      r: 5,
      lora_alpha: 10,
    });
    // In a file, patterns that are numbers keep their place.
    const ordered = await loadLora(
      fileOf(pairs({ "transformer_blocks.0.attn1.to_out.0": [32, 32] }, 5, 1, plain), {
        lora_adapter_metadata: '{"transformer.r":5,"transformer.alpha_pattern":{"to_out.0":10,"0":20}}',
      }),
    );
    expect(
      [
        ...loraChanges([{ ...ordered, scale: 1 }], ["transformer_blocks.0.attn1.to_out.0.weight"], (name) =>
          name === "transformer_blocks.0.attn1.to_out.0.weight" ? [32, 32] : undefined,
        ).values(),
      ][0]![0]!.factor,
    ).toBe(2);
    await expect(load({ "transformer.r": 5, "text_encoder.r": 4 })).rejects.toThrow(
      /lora_adapter_metadata must be of the transformer as the tensors are, got "text_encoder\.r"/,
    );
    await expect(
      load({ "transformer.r": [[[[]]]] }).then((a) =>
        loraChanges([{ ...a, scale: 1 }], ["proj_out.weight"], (name) => (name === "proj_out.weight" ? [16, 32] : undefined)),
      ),
    ).rejects.toThrow(/r must be a whole number/);
    expect((await loadLora(writeSafetensors({}, { lora_adapter_metadata: "" }))).config).toBeUndefined();
    await expect(loadLora(writeSafetensors({}, { lora_adapter_metadata: `${"[".repeat(100_000)}` }))).rejects.toThrow(
      /lora_adapter_metadata must nest at most 64 deep/,
    );
  });

  it.for(["adapter_model.bin", "pytorch_lora_weights.bin"])("a folder with %s, and the file itself", async (name) => {
    await mkdir(join(files, name, "in"), { recursive: true });
    await writeFile(join(files, name, "in", name), Uint8Array.of(0x80, 2, 0x7d, 0x71, 0));
    await expect(loadLora(join(files, name, "in"))).rejects.toThrow(
      new RegExp(`must be a \\.safetensors file, got .*${name}; pickles run code when they are read`),
    );
    await expect(loadLora(join(files, name, "in", name))).rejects.toThrow(
      new RegExp(`${name}: must be a safetensors file, got a Python pickle .*; pickles run code`),
    );
  });
});

describe("what is given in place of an adapter", () => {
  it.for<[string, GenerateOptions["loras"], RegExp]>([
    ["no file", [{ adapter: "nowhere.safetensors" }], /nowhere\.safetensors/],
    [
      "a folder without one",
      [{ adapter: "test" }],
      /an adapter must be a \.safetensors file, or a folder with pytorch_lora_weights\.safetensors or adapter_model\.safetensors, got test/,
    ],
    ["no list", "a.safetensors" as never, /loras must be a list of \{ adapter, scale \}/],
    [
      "no scale",
      [{ adapter: fileOf(pairs({ proj_out: [16, 32] }, 2, 1, plain)), scale: NaN }],
      /the scale must be a finite number, got NaN/,
    ],
  ])("%s is refused", async ([, loras, message]) => {
    await using model = await CogVideoX.open(folder, { gpu, dtype: "f32" });
    await expect(model.generate({ ...base, loras: loras! })).rejects.toThrow(message);
  });
});
