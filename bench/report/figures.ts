/** The figures to reach, beside what this run measured. */
import type { Target } from "../cases/case.ts";
import type { CaseResult } from "../measure/contest.ts";
import type { BenchRecord } from "./record.ts";

export interface Figure {
  readonly name: string;
  /** Against ONNX Runtime's WebGPU. */
  readonly ratio?: number;
  readonly wantedRatio: number;
  readonly share?: number;
  readonly wantedShare?: number;
  readonly of?: "16 chains" | "copy";
}

/** Targets are written for lavapipe; SwiftShader has shares of its own, and elsewhere the figures stand without one. */
export function figures({ engine, results }: Pick<BenchRecord, "engine" | "results">): Figure[] {
  const swiftshader = /swiftshader/i.test(engine.adapter);
  return results
    .filter((r): r is CaseResult & { case: { target: Target } } => r.case.target !== undefined)
    .map(({ case: { name, target }, ours, peers }) => {
      const ratio = peers.find((p) => p.contender === "onnxruntime")?.ratio?.median;
      const wantedShare = swiftshader ? target.share?.swiftshader : target.share?.lavapipe;
      const of = target.ceiling === "copy" ? "copy" : target.ceiling ? "16 chains" : undefined;
      const share = ours && of ? (of === "copy" ? ours.share.copy : ours.share.chains) : undefined;
      return {
        name,
        wantedRatio: target.ratio,
        ...(ratio === undefined ? {} : { ratio }),
        ...(share === undefined ? {} : { share }),
        ...(wantedShare === undefined ? {} : { wantedShare }),
        ...(of ? { of } : {}),
      };
    });
}

export const times = (ratio: number | undefined): string => (ratio === undefined ? "–" : `${ratio.toFixed(ratio < 10 ? 2 : 1)} ×`);
export const percent = (share: number | undefined): string => (share === undefined ? "–" : `${(100 * share).toFixed(0)} %`);
export const milliseconds = (ms: number | undefined): string =>
  ms === undefined ? "–" : ms < 10 ? ms.toFixed(2) : ms < 100 ? ms.toFixed(1) : ms.toFixed(0);
