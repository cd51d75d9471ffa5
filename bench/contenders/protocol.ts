/**
 * A contender is a process that computes cases: this engine, or a peer. It is asked in lines of JSON on its standard input
 * and answers in lines that begin with `@@`; whatever else it prints (drivers and libraries do) is its log.
 *
 *   open                     → who it is, and which kinds of case it can build
 *   prepare {case, file, want} → builds the case, computes it once and writes the result, f32 in the reference's layout, to
 *                              `file`; a contender that has several ways takes the fastest whose result is that of the file `want`
 *   time {runs}              → milliseconds of each run of the prepared case
 *   ceilings {runs, only, bytes} → the adapter's ceilings, and that of a copy of so many bytes (this engine alone)
 *   load {part, folder, bytes, runs} → how fast a file of that folder gets onto the device, what unpacking costs there, how long
 *                              T5's layers take to load, a step whose weights are streamed (this engine alone)
 *   runtime, generation      → what the runtime costs; whole generations with the embedded model (this engine alone)
 *   close                    → forgets the prepared case
 *
 * What a run is, for all alike: inputs and weights lie on the device; from the call until the result is whole on the device,
 * which is known by a few of its bytes having been read back.
 */
import { createInterface } from "node:readline";
import type { BenchCase } from "../cases/case.ts";
import type { Capabilities } from "../../src/gpu/capabilities.ts";
import type { HowChosen } from "../../src/plan/choice.ts";
import type { CeilingName, CeilingRates } from "../measure/ceiling.ts";
import type { Generation } from "../measure/generation.ts";
import type { Runtime } from "../measure/runtime.ts";

export interface Opened {
  readonly name: string;
  readonly version: string;
  readonly adapter: string;
  readonly kinds: readonly string[];
  /** What a reader must know of this contender. */
  readonly note?: string;
  /** This engine alone: the adapter, for the report. */
  readonly capabilities?: Capabilities;
  /** This engine alone: the table of measurements that kernels are chosen by; null where they are chosen by capability alone. */
  readonly tuning?: {
    /** None for a table that is in no file. */
    readonly file?: string;
    /** When the file was written. */
    readonly written?: string;
    /** Digest of the kernels that it was measured with. */
    readonly kernels: string;
    /** Kinds of work that it knows. */
    readonly works: number;
  } | null;
}
export interface Prepared {
  /** The way it was built, where there were several and this was the fastest. */
  readonly variant?: string;
  /** Of the other ways, why they were not taken. */
  readonly notes?: readonly string[];
  /** Nodes of the graph that the contender computes on the CPU, of all. */
  readonly cpuNodes?: { readonly cpu: number; readonly all: number };
  /** Of what this engine planned. */
  readonly flops?: number;
  readonly bytes?: number;
  readonly kernels?: readonly string[];
  /** How those of ours were chosen, where there was a choice. */
  readonly chosen?: HowChosen;
  readonly compileMs?: number;
}
export interface Timed {
  readonly ms: readonly number[];
  /** On the GPU's own clock. */
  readonly gpuMs?: readonly number[];
}

export type Request =
  | { readonly do: "open"; readonly folder: string }
  | { readonly do: "prepare"; readonly case: BenchCase; readonly file: string; readonly want?: string }
  | { readonly do: "time"; readonly runs: number }
  | { readonly do: "ceilings"; readonly runs: number; readonly only?: readonly CeilingName[]; readonly bytes?: number }
  | ({ readonly do: "load" } & LoadRequest)
  | { readonly do: "runtime" | "generation" | "close" };

export interface LoadRequest {
  readonly part: "ways" | "unpacking" | "component" | "streaming";
  /** An empty one. */
  readonly folder: string;
  readonly bytes: number;
  readonly runs: number;
}

export interface Contender {
  open(folder: string): Promise<Opened>;
  prepare(c: BenchCase, file: string, want?: string): Promise<Prepared>;
  time(runs: number): Promise<Timed>;
  ceilings?(runs: number, only?: readonly CeilingName[], bytes?: number): Promise<CeilingRates>;
  load?(request: LoadRequest): Promise<object>;
  runtime?(): Promise<Runtime>;
  generation?(): Promise<Generation>;
  close(): Promise<void>;
}

/** Answers requests until the standard input ends. */
export async function serve(contender: Contender): Promise<never> {
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line) as Request;
    let answer: unknown;
    try {
      if (request.do === "open") answer = await contender.open(request.folder);
      else if (request.do === "prepare") answer = await contender.prepare(request.case, request.file, request.want);
      else if (request.do === "time") answer = await contender.time(request.runs);
      else if (request.do === "ceilings") answer = await contender.ceilings!(request.runs, request.only, request.bytes);
      else if (request.do === "load") answer = await contender.load!(request);
      else if (request.do === "runtime") answer = await contender.runtime!();
      else if (request.do === "generation") answer = await contender.generation!();
      else answer = (await contender.close(), {});
    } catch (error) {
      answer = { error: error instanceof Error ? error.message : String(error) };
    }
    process.stdout.write(`@@${JSON.stringify(answer)}\n`);
  }
  process.exit();
}
