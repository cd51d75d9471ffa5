/** What the stages of a generation will take, as commands print it. */
import { bytesText } from "../base/units.ts";
import { stageSeconds, type StageTime } from "../pipelines/cogvideox/seconds.ts";
import type { StageMemory } from "../pipelines/requirements.ts";
import { duration } from "./terminal/progress.ts";
import { table } from "./terminal/table.ts";

const some = (bytes: number): string => (bytes ? bytesText(bytes, 1) : "");

/** A row a stage; how weights come and go, and what the host holds, only where any do. */
export function stageTable(stages: readonly StageMemory[]): string {
  const streams = stages.some(({ streamed }) => streamed > 0);
  const spills = stages.some(({ host, spilled = 0 }) => host + spilled > 0);
  const streaming = ({ residence, slotBytes, streamed }: StageMemory & { slotBytes: number }): string[] =>
    streams ? [residence ? `${residence.resident} of ${residence.layers}` : "", some(slotBytes), some(streamed)] : [];
  return table(
    [
      "stage",
      "weights",
      ...(streams ? ["layers that stay", "room of others", "read in a run"] : []),
      "inputs, outputs",
      "states",
      "activations",
      "at least",
      "in all",
      "at most",
      "work of one run",
      ...(spills ? ["host"] : []),
    ],
    stages.map((stage) => [
      stage.stage,
      bytesText(stage.weights, 1),
      ...streaming({ ...stage, slotBytes: stage.residence?.slotBytes ?? 0 }),
      bytesText(stage.io, 1),
      bytesText(stage.states, 1),
      bytesText(stage.activations, 1),
      bytesText(stage.lowerBound, 1),
      bytesText(stage.total, 1),
      bytesText(stage.peak, 1),
      `${(stage.flops / 1e9).toFixed(1)} GFLOP`,
      ...(spills ? [stage.spilled ? `${some(stage.host)}, disk ${some(stage.spilled)}` : some(stage.host)] : []),
    ]),
  );
}

/** All stages together. */
export const secondsOf = (times: readonly StageTime[]): number => times.reduce((seconds, time) => seconds + stageSeconds(time), 0);

/** How long stages will take. @param rough from a first look at the adapter, or a probe that its time ended? */
export function timeTable(times: readonly StageTime[], rough = false): string {
  const streams = times.some(({ neededBytesPerSecond }) => neededBytesPerSecond !== undefined);
  const supply = (bytes: number | undefined): string => (bytes === undefined ? "" : `${(bytes / 1e9).toFixed(2)} GB/s`);
  const rows = times.map(
    ({ stage, loadSeconds, pipelineSeconds, firstRunSeconds, workSeconds, neededBytesPerSecond, suppliedBytesPerSecond }) => [
      stage,
      loadSeconds === undefined ? "" : duration(loadSeconds),
      duration(pipelineSeconds + firstRunSeconds),
      duration(workSeconds),
      ...(streams ? [supply(neededBytesPerSecond), supply(suppliedBytesPerSecond)] : []),
    ],
  );
  const heads = ["stage", "to load", "pipelines", "work", ...(streams ? ["weights needed at", "and come at"] : [])];
  return `${table(heads, rows)}In all ${rough ? "roughly" : "about"} ${duration(secondsOf(times))}${
    times.some(({ loadSeconds }) => loadSeconds === undefined) ? ", without what loading takes" : ""
  }, from what ${rough ? "a short look" : "a probe"} measured here.\n`;
}

/** A generation within a limit of memory. */
export interface LimitedPlan {
  readonly memoryBytes: number;
  readonly stages: readonly StageMemory[];
  readonly fits: boolean;
  /** Of all stages, where rates were measured. */
  readonly seconds?: number;
}

/** A row a limit: how each of the stages keeps within it. */
export function limitTable(plans: readonly LimitedPlan[], least: number): string {
  const names = [...new Set(plans.flatMap(({ stages }) => stages.map(({ stage }) => stage)))];
  return table(
    ["memory", "takes at most", ...names, "read in a step", ...(plans.some((plan) => plan.seconds !== undefined) ? ["in all"] : [])],
    plans.map(({ memoryBytes, stages, fits, seconds }) => {
      const memory = bytesText(memoryBytes, 1);
      if (!fits) return [memory, `does not fit: the least is ${bytesText(least, 1)}`];
      const transformer = stages.find(({ stage }) => stage === "transformer");
      return [
        memory,
        bytesText(Math.max(...stages.map(({ peak }) => peak)), 1),
        ...names.map((name) => howText(stages.find(({ stage }) => stage === name)!)),
        transformer?.streamed ? bytesText(transformer.streamed, 1) : "none",
        seconds === undefined ? "" : `about ${duration(seconds)}`,
      ];
    }),
  );
}

/** How a stage keeps within a limit, in a few words. */
export function howText({ residence, streamed, apart, tileBytes, host, spilled, peak }: StageMemory): string {
  if (tileBytes !== undefined) {
    // Where one is all of the picture, it takes less than the room that tiles have.
    const tiles = bytesText(Math.min(tileBytes, peak));
    return `tiles of ${tiles}, host ${bytesText(host, 1)}${spilled ? `, disk ${bytesText(spilled, 1)}` : ""}`;
  }
  const layers = streamed && residence ? `${residence.resident} of ${residence.layers} layers` : "whole";
  return `${layers}${apart ? ", branches apart" : ""}`;
}
