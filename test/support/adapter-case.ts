/**
 * A folder of test/reference/adapters.py: adapters on the model of a committed reference case,
 * and what PEFT or diffusers compute with them.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { openSafetensors } from "../../src/files/safetensors.ts";
import { memorySource } from "../../src/sources/memory.ts";
import { toFloat32 } from "../../src/files/convert.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { compile } from "../../src/plan/compile.ts";
import { Graph } from "../../src/graph/graph.ts";
import { Program } from "../../src/run/program.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { LoraWeights, withLoras } from "../../src/models/lora/merge.ts";
import { loraChanges } from "../../src/models/lora/changes.ts";
import { parseTransformerConfig } from "../../src/models/cogvideox/config.ts";
import { factorWeight } from "../../src/models/cogvideox/linear.ts";
import { recordTransformer } from "../../src/models/cogvideox/forward.ts";
import { loadLora } from "../../src/pipelines/lora-file.ts";
import { caseWeights, readCase } from "../../src/check/reference/case.ts";
import { relativeL2 } from "./compare.ts";

export interface AdapterCase {
  /** A committed case of CogVideoXTransformer3DModel. */
  readonly base: string;
  readonly adapters: readonly {
    readonly path: string;
    readonly scale: number;
    readonly form: "peft" | "diffusers" | "plain" | "unprefixed";
    /** Config fields by which it may be refused. */
    readonly fields: readonly string[];
  }[];
  /** What the reference itself throws at it. */
  readonly error?: string;
}

export async function readAdapterCase(folder: string): Promise<AdapterCase> {
  return JSON.parse(await readFile(join(folder, "case.json"), "utf8")) as AdapterCase;
}

/**
 * Loads the adapters as an app does and computes the sample with them merged and beside the weights.
 * @returns the relative L2 error of each way; 0 where the reference gives no result
 */
export async function runAdapterCase(
  gpu: Gpu,
  folder: string,
  { base, adapters, error: refused }: AdapterCase,
): Promise<{ merged: number; live: number }> {
  const c = await readCase(
    new Uint8Array(await readFile(join("test/reference/cases/CogVideoXTransformer3DModel", `${base}.safetensors`))),
    base,
  );
  const weights = caseWeights(c, "f32");
  const loaded = await Promise.all(adapters.map(async ({ path, scale }) => ({ ...(await loadLora(join(folder, path))), scale })));
  const changes = loraChanges(loaded, weights.names(), (name) => weights.shape(name));
  if (refused !== undefined) return { merged: 0, live: 0 };
  const expected = await openSafetensors(memorySource({ s: new Uint8Array(await readFile(join(folder, "sample.safetensors"))) }), "s");
  const want = toFloat32((await expected.read("sample")).bytes, "F32");
  const beside = new LoraWeights(changes, (name) => weights.shape(name));
  const config = parseTransformerConfig(c.config);
  const batch = c.inputs.get("hidden_states")!.shape[0]!;
  const spread = (name: string) =>
    Float32Array.from({ length: batch }, (_, i) => {
      const { data } = c.inputs.get(name)!;
      return data[i % data.length]!;
    });
  const ofs: Record<string, Float32Array> = c.inputs.has("ofs") ? { ofs: spread("ofs") } : {};
  const error = async (provider: ReturnType<typeof withLoras>, live?: LoraWeights): Promise<number> => {
    const graph = new Graph("adapters", (name) => provider.type(name));
    const input = (name: string) => graph.input(name, c.inputs.get(name)!.shape);
    graph.output(
      "sample",
      recordTransformer(
        graph,
        config,
        {
          latents: input("hidden_states"),
          text: input("encoder_hidden_states"),
          timestep: graph.input("timestep", [batch]),
          ...(ofs["ofs"] ? { ofs: graph.input("ofs", [batch]) } : {}),
        },
        "f32",
        live,
      ),
    );
    using store = new WeightStore(gpu, provider);
    using program = await Program.create(gpu, compile(graph, gpu.caps), store);
    for (const name of graph.inputs.keys()) if (factorWeight(name)) program.write(name, live!.factors(factorWeight(name)!));
    await program.run({
      inputs: {
        hidden_states: c.inputs.get("hidden_states")!.data,
        encoder_hidden_states: c.inputs.get("encoder_hidden_states")!.data,
        timestep: spread("timestep"),
        ...ofs,
      },
    });
    return relativeL2(await program.read("sample"), want);
  };
  return { merged: await error(withLoras(weights, changes)), live: await error(beside.provider(weights), beside) };
}
