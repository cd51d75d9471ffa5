/** What the terminal shows. */
import { table } from "../../src/cli/terminal/table.ts";
import { listedOnly } from "../cases/case.ts";
import type { CaseResult } from "../measure/contest.ts";
import type { Generation } from "../measure/generation.ts";
import type { Runtime } from "../measure/runtime.ts";
import { milliseconds, percent } from "./figures.ts";

export function resultTable(results: readonly CaseResult[], peers: readonly { readonly id: string; readonly name: string }[]): string {
  return table(
    [
      "case",
      "ms",
      "±",
      "GPU ms",
      "GFLOP/s",
      "16 chains",
      "of peak",
      "GB/s",
      "of copy",
      "attainable",
      ...peers.map((p) => `× ${p.name}`),
      "target",
    ],
    results.map(({ case: c, ours, peers: theirs }) => [
      c.name,
      ...(ours
        ? [
            milliseconds(ours.ms.median),
            percent(ours.ms.spread),
            milliseconds(ours.gpuMs),
            ours.gflops.toFixed(1),
            percent(ours.share.chains),
            percent(ours.share.peak),
            ours.gbytes.toFixed(1),
            percent(ours.share.copy),
            percent(ours.share.attainable),
          ]
        : ["not timed", "", "", "", "", "", "", "", ""]),
      ...peers.map(({ id }) => (listedOnly(c) ? "" : (theirs.find((p) => p.contender === id)?.ratio?.median.toFixed(2) ?? "–"))),
      c.target ? `≥ ${c.target.ratio} ×${c.target.share ? `, ${percent(c.target.share.lavapipe)}` : ""}` : "",
    ]),
  );
}

/** Why something was not timed, and what must be known of a peer's figure. */
export function notes(results: readonly CaseResult[]): string[] {
  return results.flatMap(({ case: c, failed, peers }) => [
    ...(failed ? [`${c.name} was not timed: ${failed}`] : []),
    ...peers.flatMap((p) => [
      ...(p.failed ? [`${c.name}: ${p.contender} was not timed: ${first(p.failed)}`] : []),
      ...(p.cpuNodes ? [`${c.name}: ${p.contender} computes ${p.cpuNodes.cpu} of its ${p.cpuNodes.all} nodes on the CPU`] : []),
      ...(p.notes ?? []).map((note) => `${c.name}: ${p.contender}: ${first(note)}`),
    ]),
  ]);
}
const first = (text: string): string => text.split("\n")[0]!.slice(0, 160);

export function runtimeText({ replay, allocation, waiting, memory, loading }: Runtime): string {
  return [
    `\nreplay of a denoising step, ${replay.dispatches} dispatches: ` +
      `${replay.replayMs.toFixed(3)} ms to encode, ${replay.ratio.toFixed(2)} × a bare loop (≤ 1.25)`,
    `${allocation.replays} replays made ${allocation.buffers} buffers and ${allocation.bindGroups} bind groups, ` +
      `${allocation.gpuBytes} bytes on the GPU; ${allocation.heapBytesAReplay.toFixed(0)} bytes a replay stayed on the heap`,
    waiting
      ? `while the GPU works the main thread takes ${percent(waiting.core)} of a core`
      : "this system does not tell the main thread's processor time apart",
    `activations planned for the step: ${(memory.activations / 1e6).toFixed(1)} MB, ` +
      `${(memory.activations / memory.lowerBound).toFixed(2)} × the most alive at once`,
    `loading a matrix of ${(loading.bytes / 1e6).toFixed(0)} MB from memory: ` +
      `${(loading.bytes / 1e3 / loading.ms).toFixed(0)} MB/s, ${(loading.ms / loading.copyMs).toFixed(1)} × a plain copy of as much, ` +
      `${(loading.besides / 1e6).toFixed(0)} MB besides its own`,
  ].join("\n");
}

export function generationText({ cold, warm, kernels, timestamps }: Generation, readme?: { seconds: number; peakMB: number }): string {
  const stages = (g: Generation["cold"]) =>
    Object.entries(g.stages)
      .map(([stage, s]) => `${stage} ${s.toFixed(2)}`)
      .join(", ");
  return [
    `\na generation with the embedded model: first ${cold.seconds.toFixed(2)} s (${stages(cold)}; ${cold.pipelines} pipelines ` +
      `in ${cold.compileSeconds.toFixed(2)} s), second ${warm.seconds.toFixed(2)} s (${stages(warm)}; ${warm.pipelines} pipelines)`,
    ...(readme
      ? [`the README's command, from start to MP4: ${readme.seconds.toFixed(1)} s, peak resident memory ${readme.peakMB} MB`]
      : []),
    timestamps ? "GPU time by kernel, one generation:" : "This adapter has no timestamps; counts and costs of one generation:",
    table(
      ["kernel", "runs", "ms", "share", "GFLOP/s", "GB/s"],
      kernels
        .slice(0, 12)
        .map((r) => [r.label, String(r.count), r.ms.toFixed(1), percent(r.share), r.gflops.toFixed(2), r.gbytes.toFixed(2)]),
    ),
  ].join("\n");
}
