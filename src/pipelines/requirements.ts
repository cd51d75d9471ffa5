/** What each stage of a generation will take, by its plans alone: nothing is loaded. */
import type { Choice } from "../plan/choice.ts";
import { CogwheelError } from "../base/errors.ts";
import type { Plan } from "../plan/compile.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import { bytesWith, type Residence } from "../plan/residence.ts";
import { sharedArenas } from "../run/arenas.ts";
import { sharedStates } from "../run/states.ts";
import { sharedSlots } from "../run/streamer.ts";
import { loadingBytes } from "../run/weight-store.ts";
import { bytesText } from "../base/units.ts";

/** How a stage's weights are there, where they come and go by layers. */
export type StageResidence = Omit<Residence, "options" | "streamedBytes" | "freedBytes">;

/** Bytes on the adapter at one stage. */
export interface StageMemory {
  readonly stage: string;
  /** Weights that stay while the stage lasts. */
  readonly weights: number;
  /** Bytes of weights that come and go, in each run: each step of the transformer. */
  readonly streamed: number;
  /** The room that weights share which come and go, or are unpacked from how they are stored. */
  readonly slots: number;
  /** Undefined where a model has no layers that could come and go. */
  readonly residence?: StageResidence;
  /** Transformer: the branches of guidance go through a layer one after the other, to take less. */
  readonly apart?: true;
  /** Exact tiling: what a tile may take. */
  readonly tileBytes?: number;
  /** A clip in pieces that a worker takes in turn: frame batches of one; undefined where it has them all at once. */
  readonly pieceBatches?: number;
  /** Planned over arenas by lifetime. */
  readonly activations: number;
  /** Inputs, outputs and constants. */
  readonly io: number;
  /** What lives from run to run and is updated by it: the latents of the steps, the frames that the VAE keeps for its next batch. */
  readonly states: number;
  /** All that is on the adapter. */
  readonly total: number;
  /** The most at once: with what is on its way there. */
  readonly peak: number;
  readonly flops: number;
  /**
   * Seconds, all runs together, by rates that `measureRates` measured for this model and adapter, now or before; undefined where it has
   * not. Loading is in it where it is known how fast weights come.
   */
  readonly seconds?: number;
  /** No plan could need less for activations. */
  readonly lowerBound: number;
  /** Bytes in the host's memory beside, with exact tiling. */
  readonly host: number;
  /** Bytes on a disk, for which the host's memory has no room. */
  readonly spilled?: number;
  /** Kernels that were chosen among several, each kind of work once. */
  readonly choices: readonly KernelChoice[];
}

type Needs = Pick<StageMemory, "weights" | "activations" | "io" | "states" | "total" | "host"> & Partial<Pick<StageMemory, "streamed">>;

/**
 * Bytes of the machine's memory at most: a CPU adapter takes it for all that is on the
 * adapter, and weights pass through it on their way.
 */
export const machineBytes = ({ weights, streamed = 0, total, host }: Needs, { kind }: Capabilities): number =>
  (kind === "software" ? total : 0) + host + loadingBytes(weights + streamed);

/** What stages need whose parts stay beside each other. */
export function together(stages: readonly StageMemory[]): Needs & Pick<StageMemory, "stage" | "peak"> {
  const sum = (of: (s: StageMemory) => number) => stages.reduce((n, s) => n + of(s), 0);
  return {
    stage: stages.map((s) => s.stage).join(", "),
    weights: sum((s) => s.weights),
    activations: sum((s) => s.activations),
    io: sum((s) => s.io),
    states: sum((s) => s.states),
    total: sum((s) => s.total),
    peak: sum((s) => s.total) + Math.max(0, ...stages.map((s) => s.peak - s.total)),
    streamed: sum((s) => s.streamed),
    host: Math.max(0, ...stages.map((s) => s.host)),
  };
}

/** Refuses what needs more than the bytes that are free. @param otherwise another remedy than a smaller size or fewer frames */
export function refuseBeyond(
  available: number | undefined,
  room: string,
  what: string,
  needs: Needs,
  caps: Capabilities,
  otherwise?: string,
): void {
  const bytes = machineBytes(needs, caps);
  if (available === undefined || bytes <= available) return;
  throw new CogwheelError(
    room,
    `${what} needs ${bytesText(bytes)} (weights ${bytesText(needs.weights)}, ` +
      `activations ${bytesText(needs.activations + needs.io + needs.states)}${needs.host ? `, host ${bytesText(needs.host)}` : ""}, ` +
      `loading ${bytesText(loadingBytes(needs.weights + (needs.streamed ?? 0)))}), got ${bytesText(available)} of free memory; ` +
      `choose a smaller size${otherwise === undefined ? " or fewer frames" : `, fewer frames or ${otherwise}`}`,
    { code: "out-of-memory" },
  );
}

/** Which kernel carries out one kind of work (docs/tuning.md). */
export interface KernelChoice {
  readonly work: string;
  readonly variant: string;
  /** By a measurement on this adapter, else by its capabilities. */
  readonly tuned: boolean;
}

/** What a stage takes that runs these plans, one after another. */
export function measurePlans(stage: string, plans: readonly Plan[]): StageMemory {
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  // The VAE's two programs share their arenas and their states.
  const activations = sum(sharedArenas(plans));
  const io = sum(plans.map((p) => p.bytes.io));
  const states = sum([...sharedStates(plans).values()].map((tensor) => tensor.bytes));
  const kept = plans.flatMap(({ weights, asStored }) => [
    ...[...weights].map(([key, { bytes }]) => [key, bytes] as const),
    ...[...asStored.values()].map(({ weight, bytes }) => [weight.names.join("+"), bytes] as const),
  ]);
  const weights = sum([...new Map(kept).values()]);
  const slots = sum(sharedSlots(plans));
  const total = weights + slots + activations + io + states;
  return {
    stage,
    weights,
    streamed: 0,
    activations,
    io,
    states,
    slots,
    total,
    peak: total + loadingBytes(weights),
    flops: sum(plans.map((p) => p.cost.flops)),
    lowerBound: Math.max(...plans.map((p) => p.bytes.lowerBound)),
    host: 0,
    choices: kernelChoices(plans.flatMap((p) => p.choices)),
  };
}

/** Each kind of work once. */
export function kernelChoices(choices: readonly Choice[]): KernelChoice[] {
  return [...new Map(choices.map(({ key, variant, tuned }) => [key, { work: key, variant, tuned }])).values()];
}

/** A stage whose weights all stay, with these that come and go. Those that stay are there before anything else is made. */
export function withResidence(memory: StageMemory, whole: Residence): StageMemory {
  const { options: _, streamedBytes, freedBytes, ...residence } = whole;
  const weights = memory.weights - freedBytes;
  const total = bytesWith(memory.total, whole, memory.slots);
  return {
    ...memory,
    weights,
    streamed: streamedBytes,
    slots: residence.slotBytes,
    residence,
    total,
    peak: Math.max(weights + loadingBytes(weights), total + loadingBytes(residence.slotBytes)),
  };
}
