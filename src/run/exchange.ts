/**
 * What a run gives and takes while it is under way: tensors that others wait for leave as soon as they are computed, and inputs that others
 * compute are waited for only before the first dispatch that reads them.
 */
import type { Plan } from "../plan/compile.ts";
import type { View } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { viewOf } from "../plan/dispatch.ts";

export interface ExchangeOptions {
  /** Inputs that come while the run is under way, by name: each is asked for when all that comes before its first reader was submitted. */
  later?: ReadonlyMap<string, () => Promise<ArrayBufferView>>;
  /**
   * Tensors that are read as soon as they are computed, before their memory is used again; f16 as raw bits. The run goes on meanwhile,
   * and throws what one of these throws.
   */
  taken?: ReadonlyMap<Tensor, (bytes: ArrayBuffer) => void | Promise<void>>;
}

/** The steps of a plan at which a run has to do with others. */
export class Exchange {
  /** Inputs by the first step that reads them. */
  readonly #needed = new Map<number, string[]>();
  /** Tensors by the last step of the node that makes them. */
  readonly #made = new Map<number, Tensor[]>();
  readonly #underWay: Promise<void>[] = [];
  #failed: { readonly error: unknown } | undefined;

  constructor(
    { graph, steps }: Pick<Plan, "graph" | "steps">,
    private readonly options: ExchangeOptions,
  ) {
    const awaited = new Map([...(options.later?.keys() ?? [])].map((name) => [graph.inputs.get(name)!, name]));
    const last = new Map(steps.map(({ node }, at) => [node, at]));
    for (const [at, { dispatch }] of steps.entries())
      for (const binding of Object.values(dispatch.bindings as Record<string, Tensor | View>)) {
        const { root } = viewOf(binding).tensor;
        const name = awaited.get(root);
        if (name === undefined) continue;
        this.#needed.set(at, [...(this.#needed.get(at) ?? []), name]);
        awaited.delete(root);
      }
    for (const [node, at] of last)
      for (const tensor of Object.values(node.outputs))
        if (options.taken?.has(tensor)) this.#made.set(at, [...(this.#made.get(at) ?? []), tensor]);
  }

  /** Must all that comes before this step be submitted before the step is encoded? */
  parts(at: number): boolean {
    return this.#needed.has(at) || this.#made.has(at - 1);
  }

  /** Waits for what a step reads. */
  async bring(at: number, write: (name: string, data: ArrayBufferView) => void): Promise<void> {
    if (this.#failed) throw this.#failed.error;
    for (const name of this.#needed.get(at) ?? []) write(name, await this.options.later!.get(name)!());
  }

  /** Reads what is there once the steps before this one were submitted. */
  take(at: number, read: (tensor: Tensor) => Promise<ArrayBuffer>): void {
    for (const tensor of this.#made.get(at - 1) ?? []) {
      const given = async (): Promise<void> => this.options.taken!.get(tensor)!(await read(tensor));
      this.#underWay.push(given().catch((error: unknown) => void (this.#failed ??= { error })));
    }
  }

  /** Resolves when all was taken. */
  async settled(): Promise<void> {
    await Promise.all(this.#underWay);
    if (this.#failed) throw this.#failed.error;
  }
}
