/** A T5 encoder with its weights on the GPU: ids in, hidden states out. */
import { CogwheelError } from "../../base/errors.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import { compile, type CompileOptions, type Plan } from "../../plan/compile.ts";
import { elements } from "../../graph/dtype.ts";
import { Graph } from "../../graph/graph.ts";
import { packedBytes } from "../../graph/packing.ts";
import { storedRows } from "../../graph/stored.ts";
import { fitting } from "../../run/misfit.ts";
import { Program, type RunOptions } from "../../run/program.ts";
import { planFor, WeightStore, type LoadOptions } from "../../run/weight-store.ts";
import { WeightLoader } from "../../run/weight-loader.ts";
import type { WeightProvider } from "../../run/weight-provider.ts";
import type { T5Config } from "./config.ts";
import { EMBEDDING, recordT5 } from "./forward.ts";

export interface T5EncoderOptions extends LoadOptions, CompileOptions {
  /** Texts that are encoded at once. */
  batch: number;
  /** Ids a text, padding included. */
  length: number;
  /** Storage type of activations. The weights' own is the provider's choice. Default f32. */
  dtype?: "f32" | "f16";
  /**
   * Its plan on this adapter, where one was made already; one for weights that are stored otherwise is made again. It says which weights
   * are streamed.
   */
  plan?: Plan;
}

export class T5Encoder implements Disposable {
  #program: Program;
  /** The words whose rows the program holds. */
  #words = "";

  private constructor(
    readonly config: T5Config,
    readonly batch: number,
    readonly length: number,
    program: Program,
    private readonly weights: WeightStore,
    /** Plans and loads again what does not fit f16. */
    private readonly make: (load: LoadOptions) => Promise<Program>,
  ) {
    this.#program = program;
  }

  /**
   * Compiles the encoder for its shapes and loads its weights, but for the table of the vocabulary, of which `encode` reads the rows of its
   * ids. Dispose of it to free them.
   */
  static async create(gpu: Gpu, config: T5Config, provider: WeightProvider, options: T5EncoderOptions): Promise<T5Encoder> {
    const { batch, length, dtype = "f32" } = options;
    const plan = (): Plan =>
      planFor(options.plan, provider) ??
      compile(t5Graph(config, provider, { batch, length, dtype }), gpu.caps, options.plan?.options ?? options);
    const weights = new WeightStore(gpu, provider);
    const make = (load: LoadOptions): Promise<Program> => fitting(() => Program.create(gpu, plan(), weights, load));
    try {
      return new T5Encoder(config, batch, length, await make(options), weights, make);
    } catch (error) {
      weights[Symbol.dispose]();
      throw error;
    }
  }

  /** `ids` holds [batch, length] ids; resolves to [batch, length, d_model]. */
  async encode(ids: Int32Array | Uint32Array, options: Omit<RunOptions, "inputs"> = {}): Promise<Float32Array> {
    if (ids.length !== this.batch * this.length)
      throw new CogwheelError(
        "t5",
        `this encoder takes ${this.batch} × ${this.length} ids, got ${ids.length}; pad them or create it for another length`,
      );
    const bad = ids.findIndex((id: number) => id < 0 || id >= this.config.vocab_size);
    if (bad >= 0)
      throw new CogwheelError(
        "t5",
        `ids must lie within 0 to ${this.config.vocab_size - 1}, ` +
          `got ${ids[bad]} at ${bad}; use the tokenizer that belongs to this checkpoint`,
      );
    const words = [...new Set(ids)].sort((a, b) => a - b);
    const rows = new Map(words.map((word, row) => [word, row]));
    const inputs = { input_ids: Uint32Array.from(ids, (id: number) => rows.get(id)!) };
    const load = options.signal ? { signal: options.signal } : {};
    return fitting(
      async () => {
        await this.#loadWords(words, options.signal);
        await this.#program.run({ ...options, inputs });
        return this.#program.read("last_hidden_state", options.signal);
      },
      async () => {
        this.#program[Symbol.dispose]();
        this.#words = "";
        this.#program = await this.make(load);
      },
    );
  }

  /** The rows of the table that are asked for, in f32, to the beginning of the program's; nothing is read of the words of the run before. */
  async #loadWords(words: readonly number[], signal?: AbortSignal): Promise<void> {
    const asked = words.join();
    if (asked === this.#words) return;
    this.#words = "";
    const { gpu, provider } = this.weights;
    const { vocab_size, d_model } = this.config;
    const whole = provider.stored(EMBEDDING);
    const got = elements(whole.shape);
    if (got !== vocab_size * d_model)
      throw new CogwheelError(
        "weights",
        `${EMBEDDING} must have shape [${vocab_size}, ${d_model}], got ${got} values; check the checkpoint against its config`,
      );
    const shape = [words.length, d_model];
    const bytes = packedBytes(shape, "natural", "f32");
    using loader = new WeightLoader(gpu, { type: () => "f32", stored: () => storedRows(whole, words) }, bytes);
    const request = { key: EMBEDDING, names: [EMBEDDING], shape, packing: "natural", dtype: "f32", bytes } as const;
    await gpu.scoped("loading words", () => loader.load(request, this.#program.buffer("words"), signal));
    this.#words = asked;
  }

  [Symbol.dispose](): void {
    this.#program[Symbol.dispose]();
    this.weights[Symbol.dispose]();
  }
}

/**
 * The encoder as a graph, to plan with before anything is loaded. `input_ids` name rows of `words`, which holds those of the table that are
 * used.
 */
export function t5Graph(
  config: T5Config,
  provider: Pick<WeightProvider, "type">,
  options: Pick<T5EncoderOptions, "batch" | "length" | "dtype">,
): Graph {
  const graph = new Graph("t5", (name) => provider.type(name));
  const inputIds = graph.input("input_ids", [options.batch, options.length], "u32");
  const table = graph.input("words", [options.batch * options.length, config.d_model]);
  graph.output("last_hidden_state", recordT5(graph, config, inputIds, { dtype: options.dtype ?? "f32", table }));
  return graph;
}
