/** What a probe measures of a model: layers of its networks, and its weights as a generation loads them. */
import type { Graph } from "../../graph/graph.ts";
import type { Format } from "../../graph/stored.ts";
import { compile, type Plan } from "../../plan/compile.ts";
import type { WeightRequest } from "../../plan/weight-request.ts";
import type { WeightProvider } from "../../run/weight-provider.ts";
import type { Part } from "./components.ts";
import type { Model } from "./model.ts";
import type { Planner } from "./planner.ts";
import { PROBE_SIZES, probeDecoder, probeGraphs } from "./probe-graphs.ts";
import { requiredSizes } from "./sizes.ts";

export class Probed {
  constructor(
    private readonly model: Model,
    private readonly planner: Planner,
  ) {}

  readonly sizes = PROBE_SIZES.length;

  /** A layer of each network, on work that grows with `size` below `sizes`. */
  graphs(size: number): Iterable<Graph> {
    return probeGraphs(this.model, size);
  }

  /** The weights of each part. */
  async *weights(signal?: AbortSignal): AsyncGenerator<{ part: Part; provider: WeightProvider; weights: readonly LoadedWeight[] }> {
    const { stages } = this.planner.plan(this.model, requiredSizes(this.model, {}), undefined);
    for (const { stage, part, plans } of stages) {
      if (stage === "encoder") continue;
      const provider = await this.model.files.weights(part, signal ? { signal } : {});
      // A decoder's weights are the same for pictures of every size.
      const planned = part === "vae" ? probeDecoder(this.model, 0).map((graph) => compile(graph, this.model.gpu.caps)) : plans();
      yield { part, provider, weights: [...new Map(planned.flatMap(loadedWeights)).values()] };
    }
  }
}

/** A weight that is read, and how much of it lies on the device then. */
export interface LoadedWeight {
  readonly request: WeightRequest;
  readonly bytes: number;
  /** Of one that stays as it is stored. */
  readonly format?: Format;
}

/** The weights of a plan by their keys, those that come and go too. */
const loadedWeights = ({ weights, streamed, asStored }: Plan): (readonly [key: string, LoadedWeight])[] => [
  ...[...weights, ...streamed].map(([key, request]) => [key, { request, bytes: request.bytes }] as const),
  ...[...asStored].map(([key, { weight, bytes, format }]) => [key, { request: weight, bytes, format }] as const),
];
