/** Plans a model's generations within the memory that there is. */
import { availableMemoryBytes } from "#platform";
import type { Plan } from "../../plan/compile.ts";
import { hostRoom, roundedMemory } from "../host-room.ts";
import type { TilingMode } from "../options.ts";
import { machineBytes, type StageMemory } from "../requirements.ts";
import type { Model } from "./model.ts";
import { refuseIfTooLong } from "./sequence.ts";
import type { ClipPlanner } from "./share.ts";
import { stagesOf, type Stages, type StageSizes, type Within } from "./stages.ts";

/** Stages, what each of them takes, and the limit that they were planned for. */
export interface Planned extends Stages {
  readonly requirements: StageMemory[];
  readonly limit: number | undefined;
}

/** The last answer is kept: a command asks what a generation will take before it prepares it. */
export class Planner {
  #last: { readonly key: string; readonly planned: Planned } | undefined;
  /** Plans with all weights there, for one model's sizes. */
  #memo: { readonly key: string; readonly caps: object; readonly plans: Map<string, Plan> } | undefined;

  /**
   * @param asked bytes of the adapter's memory. Default: the model's own limit, else on an adapter that runs on the CPU what is free, where
   * that is too little for all that a stage would take
   * @param clips where the VAE's work is shared out over workers
   */
  plan(model: Model, sizes: StageSizes, tiling: TilingMode | undefined, asked?: number, clips?: ClipPlanner): Planned {
    if (sizes.steps) refuseIfTooLong(model, sizes.denoise);
    const limit = asked ?? model.memoryBytes;
    const planned = this.#within(model, sizes, tiling, { limit, clips });
    const { caps } = model.gpu;
    const free = availableMemoryBytes();
    // Parts that are kept take of what is free; what is planned anew for the rest would not be what is there.
    if (free === undefined || model.parts.keep) return planned;
    const software = caps.kind === "software";
    const most = Math.max(...planned.requirements.map((stage) => machineBytes(stage, caps)));
    if (most <= free) return planned;
    // An adapter that runs on the CPU takes its share of what is free first.
    const device = software && limit === undefined ? this.#deviceLimit(planned, free, model) : limit;
    const within = device === limit ? planned : this.#within(model, sizes, tiling, { limit: device, clips });
    const room = hostRoom(within.requirements, caps, free);
    return room === undefined ? within : this.#within(model, sizes, tiling, { limit: device, hostLimit: room, clips });
  }

  /** What is free for the adapter's part, where it is too little for all. */
  #deviceLimit({ requirements }: Planned, free: number, { gpu: { caps } }: Model): number | undefined {
    const device = Math.max(...requirements.map((stage) => machineBytes(stage, caps) - stage.host));
    const beside = Math.max(...requirements.map((stage) => machineBytes(stage, caps) - stage.peak - stage.host));
    return device <= free ? undefined : roundedMemory(free - beside);
  }

  #within(model: Model, sizes: StageSizes, tiling: TilingMode | undefined, limits: Pick<Within, "limit" | "hostLimit" | "clips">): Planned {
    const { caps } = model.gpu;
    const size = JSON.stringify(sizes);
    if (this.#memo?.key !== size || this.#memo.caps !== caps) {
      this.#memo = { key: size, caps, plans: new Map() };
      this.#last = undefined;
    }
    const { limit, hostLimit, clips } = limits;
    const key = JSON.stringify([tiling, limit, hostLimit, clips?.axis]);
    if (this.#last?.key === key) return this.#last.planned;
    const made = stagesOf(model, sizes, tiling, { caps, ...limits, memo: this.#memo.plans });
    const planned = { ...made, limit, requirements: made.stages.map(({ memory }) => memory) };
    this.#last = { key, planned };
    return planned;
  }
}
