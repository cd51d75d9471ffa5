/** Where a program makes a NaN or an infinity: counted on the device after each node that is looked at, told when the run is over. */
import { checkFinite } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import { CHECK_FINITE } from "../base/finite.ts";
import type { Gpu, OwnedBuffer } from "../gpu/gpu.ts";
import type { Kernel } from "../gpu/kernel.ts";
import type { Pipeline } from "../gpu/pipelines.ts";
import type { Node, View } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";

/** A dispatch that counts in a part of a tensor. */
interface Check {
  readonly node: Node;
  readonly half: boolean;
  readonly resources: Record<string, GPUBufferBinding>;
  readonly params: { words: number; slot: number };
  readonly grid: readonly [number, number, number];
}

/** @template S what a program encodes */
export class FiniteChecks<S> {
  private constructor(
    private readonly gpu: Gpu,
    private readonly graph: string,
    private readonly nodes: readonly Node[],
    private readonly all: boolean,
    /** A count for each node; the program's to free. */
    readonly flags: OwnedBuffer,
    private readonly steps: ReadonlyMap<number, readonly S[]>,
  ) {}

  /**
   * @param nodes in the order in which they run; `all`: are they all that there are?
   * @param resource where a tensor lies
   * @param bind makes steps of dispatches
   */
  static async create<S>(
    gpu: Gpu,
    graph: string,
    nodes: readonly Node[],
    all: boolean,
    resource: (view: View) => GPUBufferBinding,
    bind: (pipelines: readonly Pipeline[], checks: readonly Check[]) => S[],
  ): Promise<FiniteChecks<S>> {
    const flags = gpu.buffer(
      "check_finite.flags",
      nodes.length * 4,
      GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC,
    );
    try {
      const limit = gpu.caps.maxBindingBytes - (gpu.caps.maxBindingBytes % 256);
      const checks = nodes.flatMap((node, slot) =>
        (Object.values(node.outputs) as Tensor[]).flatMap((tensor) => {
          const parts: Check[] = [];
          if (tensor.dtype !== "f32" && tensor.dtype !== "f16") return parts;
          for (let offset = 0; offset < tensor.bytes; offset += limit) {
            const words = Math.floor(Math.min(limit, tensor.bytes - offset) / 4);
            if (words > 0)
              parts.push({
                node,
                half: tensor.dtype === "f16",
                resources: { x: resource({ tensor, offset, bytes: words * 4 }), flags: { buffer: flags.buffer } },
                params: { words, slot },
                grid: [Math.min(256, Math.ceil(words / 64)), 1, 1],
              });
          }
          return parts;
        }),
      );
      const pipelines = await Promise.all(
        checks.map(({ half }) => gpu.pipelines.get(checkFinite as Kernel, { consts: { HALF: half ? 1 : 0 } })),
      );
      const steps = new Map<number, S[]>();
      bind(pipelines, checks).forEach((step, i) => {
        const { id } = checks[i]!.node;
        steps.set(id, [...(steps.get(id) ?? []), step]);
      });
      return new FiniteChecks(gpu, graph, nodes, all, flags, steps);
    } catch (error) {
      flags[Symbol.dispose]();
      throw error;
    }
  }

  /** Counts from zero. */
  begin(): void {
    this.gpu.device.queue.writeBuffer(this.flags.buffer, 0, new Uint8Array(this.flags.bytes));
  }

  /** What is encoded after a node. */
  after(node: Node): readonly S[] | undefined {
    return this.steps.get(node.id);
  }

  /** Throws where a value was none, and names the first node that made one. */
  async report(): Promise<void> {
    const counts = new Uint32Array(await this.gpu.read(this.flags.buffer));
    const first = this.nodes.findIndex((_, slot) => counts[slot]! > 0);
    if (first < 0) return;
    const node = this.nodes[first]!;
    throw new CogwheelError(
      "check-finite",
      `every value must be finite, got ${counts[first]} NaN or infinite values ${this.all ? "first " : ""}in node ${node.name} ` +
        `of ${this.graph} (${Object.values(node.outputs).join("; ")}); ${this.all ? "check its inputs and weights" : CHECK_FINITE}`,
    );
  }
}
