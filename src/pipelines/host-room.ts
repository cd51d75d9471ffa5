/** How much of the host's memory activations may take before they go to a disk. */
import { spillRoom } from "#platform";
import type { Capabilities } from "../gpu/capabilities.ts";
import { machineBytes, type StageMemory } from "./requirements.ts";

/** What free memory is rounded to: it is another number at every look, and a plan is not to be another one for that. */
const STEP_BYTES = 64 << 20;
export const roundedMemory = (bytes: number): number => Math.max(1, Math.floor(bytes / STEP_BYTES) * STEP_BYTES);

/** Of what is free, what activations may take: the rest is for what the system keeps of the disk that others go to. */
const SPARING = 0.8;

/** Bytes for these stages, of so many that are free; undefined where they take no more, or a disk has no room for the rest. */
export function hostRoom(stages: readonly StageMemory[], caps: Capabilities, free: number): number | undefined {
  const beside = Math.max(...stages.map((stage) => machineBytes(stage, caps) - stage.host));
  const host = Math.max(...stages.map((stage) => stage.host));
  if (host + beside <= free) return undefined;
  const room = roundedMemory(SPARING * free - beside);
  return host > room && host - room <= spillRoom() ? room : undefined;
}

/** A stage that has so much room. */
export const spilling = (memory: StageMemory, room = Infinity): StageMemory =>
  memory.host <= room ? memory : { ...memory, host: room, spilled: memory.host - room };
