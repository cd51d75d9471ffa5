/**
 * ONNX Runtime with its WebGPU execution provider (its own Dawn, the same Vulkan driver). Inputs are made resident by a
 * first session, results stay on the device; one element of them comes back, which ends a run.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { relativeL2, type BenchCase } from "../cases/case.ts";
import { readResult, writeResult } from "../cases/result-file.ts";
import { serve, type Contender, type Prepared } from "./protocol.ts";
import { peerRequire } from "./installed.ts";
import type { OnnxVariant } from "./onnx/graphs.ts";
import { OnnxModel } from "./onnx/model.ts";
import { onnxVariants } from "./onnx/variants.ts";

interface OrtTensor {
  readonly data: Float32Array;
  readonly dims: readonly number[];
  dispose(): void;
}
interface OrtSession {
  run(feeds: Record<string, OrtTensor>): Promise<Record<string, OrtTensor>>;
  release(): Promise<void>;
}
interface Ort {
  readonly Tensor: new (type: "float32", data: Float32Array, shape: readonly number[]) => OrtTensor;
  readonly InferenceSession: { create(path: string, options: object): Promise<OrtSession> };
  readonly env: { readonly versions: { readonly node?: string; readonly common: string } };
}

interface Open {
  session: OrtSession;
  feeds: Record<string, OrtTensor>;
  output: string;
  cpuNodes: { cpu: number; all: number } | undefined;
}

class OnnxRuntime implements Contender {
  readonly #ort = peerRequire("onnxruntime-node") as Ort;
  #folder = "";
  #open: Open | undefined;

  async open(folder: string) {
    this.#folder = mkdtempSync(join(folder, "onnx-"));
    return {
      name: "ONNX Runtime",
      version: this.#ort.env.versions.node ?? this.#ort.env.versions.common,
      adapter: "its own Dawn, same driver",
      kinds: Object.keys(onnxVariants),
    };
  }

  async prepare(c: BenchCase, file: string, want?: string): Promise<Prepared> {
    let best: { name: string; ms: number; open: Open; result: Float32Array } | undefined;
    const notes: string[] = [];
    for (const [name, make] of Object.entries(onnxVariants[c.kind]!(c))) {
      let open: Open | undefined;
      try {
        const variant = make();
        open = await this.#load(variant);
        // The first run compiles; where it is long that hardly shows, and once is enough.
        let { ms, result: raw } = await this.#run(open, true);
        if (ms < 5000) ({ ms, result: raw } = await this.#run(open, true));
        const result = variant.read ? variant.read(raw!) : raw!;
        const difference = want === undefined ? 0 : relativeL2(result, readResult(want));
        if (!(difference <= c.tolerance)) throw new Error(`a wrong result, ${difference.toExponential(1)} off, in ${ms.toFixed(1)} ms`);
        if (best) notes.push(`${best.ms < ms ? name : best.name}: slower, ${Math.max(best.ms, ms).toFixed(1)} ms`);
        const slower = best && best.ms < ms ? open : best?.open;
        if (!best || ms < best.ms) best = { name, ms, open, result };
        if (slower) await release(slower);
      } catch (error) {
        notes.push(`${name}: ${(error as Error).message}`);
        if (open) await release(open);
      }
    }
    if (!best) throw new Error(notes.join("; "));
    this.#open = best.open;
    writeResult(file, best.result);
    return { variant: best.name, notes, ...(best.open.cpuNodes ? { cpuNodes: best.open.cpuNodes } : {}) };
  }

  async #run({ session, feeds, output }: Open, keep = false): Promise<{ ms: number; result?: Float32Array }> {
    const start = performance.now();
    const out = await session.run(feeds);
    const ms = performance.now() - start;
    const result = keep ? await this.#download(out[output]!) : undefined;
    for (const tensor of Object.values(out)) tensor.dispose();
    return { ms, ...(result ? { result } : {}) };
  }

  /** A session whose inputs are on the device and which gives `output` there and one element of it on the host. */
  async #load(variant: OnnxVariant): Promise<Open> {
    const { model, output, inputs } = variant;
    const flat = model.node("Reshape", [output, model.ints([-1])]);
    const probe = model.node("Slice", [flat, model.ints([0]), model.ints([1])]);
    model.output(probe, [1]);
    const path = join(this.#folder, "model.onnx");
    model.write(path);
    const provider = { name: "webgpu", ...(variant.layout ? { preferredLayout: variant.layout } : {}) };
    const session = await this.#ort.InferenceSession.create(path, {
      executionProviders: [provider],
      preferredOutputLocation: { [output]: "gpu-buffer", [probe]: "cpu" },
    });
    const cpuNodes = await placement(path, variant.layout);
    rmSync(path);
    rmSync(`${path}.data`);
    const feeds: Record<string, OrtTensor> = {};
    for (const [name, { shape, data }] of Object.entries(inputs)) feeds[name] = await this.#upload(data, shape);
    return { session, feeds, output, cpuNodes };
  }

  /** To the device: a sum with zero whose result stays there. */
  async #upload(data: Float32Array, shape: readonly number[]): Promise<OrtTensor> {
    const [session, y] = await this.#transfer(shape, "gpu-buffer");
    const out = await session.run({
      x: new this.#ort.Tensor("float32", data, shape),
      zero: new this.#ort.Tensor("float32", new Float32Array(1), [1]),
    });
    await session.release();
    return out[y]!;
  }
  async #download(tensor: OrtTensor): Promise<Float32Array> {
    const [session, y] = await this.#transfer(tensor.dims, "cpu");
    const out = await session.run({ x: tensor, zero: new this.#ort.Tensor("float32", new Float32Array(1), [1]) });
    const data = Float32Array.from(out[y]!.data);
    await session.release();
    return data;
  }
  async #transfer(shape: readonly number[], location: "gpu-buffer" | "cpu"): Promise<[OrtSession, string]> {
    const model = new OnnxModel();
    const y = model.node("Add", [model.input("x", shape), model.input("zero", [1])]);
    model.output(y, shape);
    const path = join(this.#folder, "transfer.onnx");
    model.write(path);
    return [await this.#ort.InferenceSession.create(path, { executionProviders: ["webgpu"], preferredOutputLocation: location }), y];
  }

  async time(runs: number) {
    const ms: number[] = [];
    for (let i = 0; i < runs; i++) ms.push((await this.#run(this.#open!)).ms);
    return { ms };
  }

  async close() {
    if (this.#open) await release(this.#open);
    this.#open = undefined;
  }
}

async function release({ session, feeds }: Open): Promise<void> {
  for (const tensor of Object.values(feeds)) tensor.dispose();
  await session.release();
}

/**
 * Nodes that are not computed on the device, of all but the two of the probe: a process of
 * its own loads the model and tells in its log.
 */
async function placement(path: string, layout = ""): Promise<{ cpu: number; all: number } | undefined> {
  const child = spawn(process.execPath, [process.argv[1]!, "--placement", path, layout], { stdio: ["ignore", "pipe", "pipe"] });
  let log = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (data: Buffer) => {
      log += data.toString();
    });
  await new Promise((done) => child.on("close", done));
  const counts = [...log.matchAll(/placed on \[(\w+)\]\. Number of nodes: (\d+)/g)].map(([, provider, count]) => ({
    cpu: provider !== "WebGpuExecutionProvider",
    count: Number(count),
  }));
  if (counts.length === 0) return undefined;
  const sum = (list: typeof counts) => list.reduce((n, c) => n + c.count, 0);
  return { cpu: sum(counts.filter((c) => c.cpu)), all: sum(counts) - 2 };
}

if (process.argv[2] === "--placement") {
  const provider = { name: "webgpu", ...(process.argv[4] ? { preferredLayout: process.argv[4] } : {}) };
  await (peerRequire("onnxruntime-node") as Ort).InferenceSession.create(process.argv[3]!, {
    executionProviders: [provider],
    logSeverityLevel: 0,
  });
  process.exit();
}
await serve(new OnnxRuntime());
