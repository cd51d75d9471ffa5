/** The figures to reach, beside what this run measured. */
import type { Target } from "../cases/case.ts";
import type { CaseResult } from "../measure/contest.ts";
import { median } from "../measure/statistics.ts";
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

/** `1.20 × to 3.40 ×, 2.00 × in the middle`, or the one value. */
function span(values: readonly number[], show: (value: number) => string): string {
  if (values.length === 1) return show(values[0]!);
  const middle = values.length > 2 ? `, ${show(median(values))} in the middle,` : "";
  return `${show(Math.min(...values))} to ${show(Math.max(...values))}${middle}`;
}
const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? "" : "s"}`;

/** What a run tells in short: how close to the adapter's own limit, how fast beside whom, what was reached; nothing where no case was timed. */
export function summary(record: Pick<BenchRecord, "engine" | "peers" | "results" | "failures">): string {
  const { engine, peers, results, failures } = record;
  const timed = results.flatMap(({ ours }) => (ours ? [ours] : []));
  if (timed.length === 0) return "";
  const attainable = timed.map(({ share }) => share.attainable).filter(Number.isFinite);
  const beside = peers.flatMap(({ id, name }) => {
    const ratios = results.flatMap((r) => r.peers.find((p) => p.contender === id)?.ratio?.median ?? []);
    return ratios.length ? [`${span(ratios, times)} as fast as ${name} (${counted(ratios.length, "case")})`] : [];
  });
  const wanted = figures(record).flatMap(({ ratio, wantedRatio, share, wantedShare }) => [
    ...(ratio === undefined ? [] : [ratio >= wantedRatio]),
    ...(share === undefined || wantedShare === undefined ? [] : [share >= wantedShare]),
  ]);
  return [
    `${counted(timed.length, "case")} on ${engine.adapter}` +
      (attainable.length ? `: ${span(attainable, percent)} of what its multiply-adds and its copy allow` : "") +
      `${beside.map((text) => `; ${text}`).join("")}.`,
    ...(wanted.length ? [`Figures to reach: ${wanted.filter(Boolean).length} of ${wanted.length} reached.`] : []),
    ...(failures.length ? [`Not measured: ${failures.length}, named below.`] : []),
  ].join(" ");
}
