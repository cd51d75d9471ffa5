/** Plans a model's generations within the memory that there is. */
import { availableMemoryBytes } from "#platform";
import type { Plan } from "../../plan/compile.ts";
import type { TilingMode } from "../options.ts";
import { machineBytes, type StageMemory } from "../requirements.ts";
import type { Model } from "./model.ts";
import { stagesOf, type Stages, type StageSizes } from "./stages.ts";

/** Stages, what each of them takes, and the limit that they were planned for. */
export interface Planned extends Stages {
  readonly requirements: StageMemory[];
  readonly limit: number | undefined;
}

/** What free memory is rounded to: it is another number at every look, and a plan is not to be another one for that. */
const STEP_BYTES = 64 << 20;

/** The last answer is kept: a command asks what a generation will take before it prepares it. */
export class Planner {
  #last: { readonly key: string; readonly planned: Planned } | undefined;
  /** Plans with all weights there, for one model's sizes. */
  #memo: { readonly key: string; readonly caps: object; readonly plans: Map<string, Plan> } | undefined;

  /**
   * @param asked bytes of the adapter's memory. Default: the model's own limit, else on an adapter that runs on the CPU what is free, where
   * that is too little for all that a stage would take
   */
  plan(model: Model, sizes: StageSizes, tiling: TilingMode | undefined, asked?: number): Planned {
    const limit = asked ?? model.memoryBytes;
    const planned = this.#within(model, sizes, tiling, limit);
    const { caps } = model.gpu;
    // Parts that are kept take of what is free; what is planned anew for the rest would not be what is there.
    if (limit !== undefined || caps.kind !== "software" || model.parts.keep) return planned;
    const free = availableMemoryBytes();
    const most = Math.max(...planned.requirements.map((stage) => machineBytes(stage, caps)));
    if (free === undefined || most <= free) return planned;
    const beside = Math.max(...planned.requirements.map((stage) => machineBytes(stage, caps) - stage.peak - stage.host));
    return this.#within(model, sizes, tiling, Math.max(1, Math.floor((free - beside) / STEP_BYTES) * STEP_BYTES));
  }

  #within(model: Model, sizes: StageSizes, tiling: TilingMode | undefined, limit: number | undefined): Planned {
    const { caps } = model.gpu;
    const size = JSON.stringify(sizes);
    if (this.#memo?.key !== size || this.#memo.caps !== caps) {
      this.#memo = { key: size, caps, plans: new Map() };
      this.#last = undefined;
    }
    const key = JSON.stringify([tiling, limit]);
    if (this.#last?.key === key) return this.#last.planned;
    const made = stagesOf(model, sizes, tiling, { caps, limit, memo: this.#memo.plans });
    const planned = { ...made, limit, requirements: made.stages.map(({ memory }) => memory) };
    this.#last = { key, planned };
    return planned;
  }
}
