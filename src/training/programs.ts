/**
 * Programs of a run, by what they are of: compiled when one is first asked for, and kept. They share states, and the memory of activations,
 * for they never run at once.
 */
import type { Gpu } from "../gpu/gpu.ts";
import type { Graph } from "../graph/graph.ts";
import { compile, type CompileOptions, type Plan } from "../plan/compile.ts";
import { Arenas, sharedArenas } from "../run/arenas.ts";
import { fitting } from "../run/misfit.ts";
import { Program } from "../run/program.ts";
import type { States } from "../run/states.ts";
import type { WeightStore } from "../run/weight-store.ts";

export interface ProgramsOptions {
  readonly compile?: CompileOptions;
  /** What an input of a graph holds that belongs to the run and not to a step; undefined for other inputs. */
  readonly input?: (name: string) => Float32Array | undefined;
}

/** What makes programs of a run, or of a part of it that has states of its own. */
export interface ProgramMaker {
  get(key: string, record: () => Graph): Promise<Program>;
}

export class Programs implements Disposable {
  readonly #plans = new Map<string, Plan>();
  readonly #programs = new Map<string, Program>();
  #arenas: Arenas | undefined;
  /** Bytes of each arena. */
  #room: readonly number[] = [];

  constructor(
    private readonly gpu: Gpu,
    private readonly store: WeightStore,
    /** The run's. */
    readonly states: States,
    private readonly options: ProgramsOptions = {},
  ) {}

  /** The plan of what has been made. */
  plan(key: string): Plan {
    return this.#plans.get(key)!;
  }

  /** Programs whose keys begin so, with these states. */
  of(prefix: string, states: States): ProgramMaker {
    return { get: (key, record) => this.get(`${prefix} ${key}`, record, states) };
  }

  /**
   * The program of a graph, made when it is first asked for; again where its weights turn out not to fit f16.
   * @param states Default: the run's
   */
  async get(key: string, record: () => Graph, states: States = this.states): Promise<Program> {
    const found = this.#programs.get(key);
    if (found) return found;
    return await fitting(
      async () => {
        const plan = this.#plans.get(key) ?? compile(record(), this.gpu.caps, this.options.compile ?? {});
        this.#plans.set(key, plan);
        const program = await Program.create(this.gpu, plan, this.store, { states, arenas: this.#roomFor(plan) });
        for (const name of plan.graph.inputs.keys()) {
          const values = this.options.input?.(name);
          if (values) program.write(name, values);
        }
        this.#programs.set(key, program);
        return program;
      },
      () => this.forget(),
    );
  }

  #roomFor(plan: Plan): Arenas {
    const fits = plan.memory.arenas.every((bytes, i) => bytes <= (this.#room[i] ?? 0));
    if (this.#arenas && fits) return this.#arenas;
    this.#free();
    const plans = [...this.#plans.values()];
    this.#room = sharedArenas(plans);
    return (this.#arenas = new Arenas(this.gpu, plans));
  }

  #free(): void {
    for (const program of this.#programs.values()) program[Symbol.dispose]();
    this.#programs.clear();
    this.#arenas?.[Symbol.dispose]();
    this.#arenas = undefined;
  }

  /** Frees the programs of a prefix, whose states go; they are made again, by the plans that there are, when they are asked for. */
  drop(prefix: string): void {
    for (const [key, program] of this.#programs) {
      if (!key.startsWith(`${prefix} `)) continue;
      program[Symbol.dispose]();
      this.#programs.delete(key);
    }
  }

  /** Frees what programs have on the device; they are made again when they are asked for. States stay. */
  forget(): void {
    this.#free();
    this.#plans.clear();
  }

  [Symbol.dispose](): void {
    this.#free();
  }
}
