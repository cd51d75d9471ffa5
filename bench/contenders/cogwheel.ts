/** This engine as a contender. */
import { statSync } from "node:fs";
import { basename } from "node:path";
import { draw, relativeL2, type BenchCase } from "../cases/case.ts";
import { writeResult } from "../cases/result-file.ts";
import { EMBEDDED_MODEL, packageInfo } from "../../src/cli/package-root.ts";
import { Gpu } from "../../src/gpu/gpu.ts";
import { Profile } from "../../src/gpu/profile.ts";
import { howChosen } from "../../src/plan/choice.ts";
import { compile } from "../../src/plan/compile.ts";
import { Program } from "../../src/run/program.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { storedValues } from "../../src/run/weight-provider.ts";
import { measureComponents } from "../load/component.ts";
import { measureNodeLoad } from "../load/node.ts";
import { measureStreaming } from "../load/streaming.ts";
import { measureUnpacking } from "../load/unpacking.ts";
import { Ceilings, type CeilingName, type CeilingRates } from "../measure/ceiling.ts";
import { RunClock } from "../measure/clock.ts";
import { measureGeneration, type Generation } from "../measure/generation.ts";
import { measureRuntime, type Runtime } from "../measure/runtime.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { builders } from "./builders.ts";
import { serve, type Contender, type LoadRequest, type Opened, type Prepared } from "./protocol.ts";

function tuningOf({ tuning }: Gpu): Opened["tuning"] {
  if (!tuning) return null;
  const {
    path,
    table: { kernels, choices },
  } = tuning;
  return {
    ...(path === undefined ? {} : { file: basename(path), written: statSync(path).mtime.toISOString() }),
    kernels,
    works: Object.keys(choices).length,
  };
}

class Engine implements Contender {
  #gpu!: Gpu;
  #ceilings: Ceilings | undefined;
  #clock = new RunClock();
  #open: { program: Program; store: WeightStore } | undefined;

  async open() {
    this.#gpu = await Gpu.open({
      ...(process.env["COGWHEEL_ADAPTER"] ? { adapter: process.env["COGWHEEL_ADAPTER"] } : {}),
      ...(process.env["COGWHEEL_KERNELS"] === "gpu" ? { capabilities: { kind: "hardware" as const } } : {}),
    });
    return {
      name: "Cogwheel",
      version: packageInfo().version,
      adapter: this.#gpu.name,
      kinds: Object.keys(builders),
      capabilities: this.#gpu.caps,
      tuning: tuningOf(this.#gpu),
    };
  }

  async ceilings(runs: number, only?: readonly CeilingName[], bytes?: number): Promise<CeilingRates> {
    this.#ceilings ??= await Ceilings.create(this.#gpu);
    return await this.#ceilings.measure(runs, only, bytes);
  }

  async prepare(c: BenchCase, file: string): Promise<Prepared> {
    const build = builders[c.kind];
    if (!build) throw new Error(`no builder for ${c.kind}`);
    const gpu = this.#gpu;
    const { graph, inputs, read, provider, want, plan: planned } = build(c);
    const store = new WeightStore(gpu, provider ?? { type: () => "f32", stored: (name) => storedValues(name, draw(c.weights[name]!)) });
    const plan = planned?.(gpu.caps) ?? compile(graph, gpu.caps);
    const chosen = howChosen(plan.choices);
    const start = performance.now();
    const program = await Program.create(gpu, plan, store);
    const compileMs = performance.now() - start;
    this.#open = { program, store };
    this.#clock = new RunClock();
    await gpu.scoped(c.name, () => program.run({ inputs }));
    const out = await program.read([...graph.outputs.keys()][0]!);
    if (want) {
      const error = relativeL2(out, Float32Array.from(want()));
      if (!(error <= c.tolerance))
        throw new Error(`its result departs from the list's reference by ${error.toExponential(1)}, more than ${c.tolerance}`);
    }
    writeResult(file, read ? read(out) : out);
    return {
      flops: plan.cost.flops,
      bytes: plan.cost.bytes,
      compileMs,
      kernels: [...new Set(plan.steps.map((s) => s.label))],
      ...(chosen ? { chosen } : {}),
    };
  }

  async time(runs: number) {
    const { program } = this.#open!;
    const gpu = this.#gpu;
    const ms: number[] = [],
      gpuMs: number[] = [];
    for (let i = 0; i < runs; i++) {
      // As for the peers, times before predict the wait; the engine's own prediction is an average over all kernels.
      ms.push(
        await this.#clock.time(
          () => program.run(),
          (predicted) => gpu.idle(predicted),
        ),
      );
      await gpu.pace.drain();
    }
    if (this.#gpu.caps.timestamps) {
      using profile = new Profile(gpu);
      await program.run({ profile });
      gpuMs.push(profile.dispatches.reduce((n, d) => n + (d.end - d.begin) / 1e6, 0));
    }
    return { ms, gpuMs };
  }

  async load({ part, folder, bytes, runs }: LoadRequest): Promise<object> {
    if (part === "ways") return await measureNodeLoad(this.#gpu, folder, bytes, runs);
    if (part === "unpacking") return await measureUnpacking(this.#gpu, runs);
    if (part === "component") return await measureComponents(this.#gpu, folder, { runs });
    return await measureStreaming(this.#gpu, folder, { runs: Math.min(runs, 5) });
  }

  async runtime(): Promise<Runtime> {
    await using model = await CogVideoX.open(EMBEDDED_MODEL, { gpu: this.#gpu });
    return await measureRuntime(this.#gpu, model);
  }

  async generation(): Promise<Generation> {
    await using model = await CogVideoX.open(EMBEDDED_MODEL, { gpu: this.#gpu });
    return await measureGeneration(this.#gpu, model);
  }

  async close() {
    this.#open?.program[Symbol.dispose]();
    this.#open?.store[Symbol.dispose]();
    this.#open = undefined;
  }
}

await serve(new Engine());
