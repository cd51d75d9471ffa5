/**
 * One case, all contenders: each builds it, the results are compared, and those that are right are timed in turn.
 *
 * A round is ours, peer, ours, peer, … ours (A/B/A): a peer's ratio is its time over the mean of ours just before and after it,
 * so that a machine that slows down slows both. The adapter's ceilings are measured in every round too.
 */
import { join } from "node:path";
import { relativeL2, type BenchCase } from "../cases/case.ts";
import { readResult } from "../cases/result-file.ts";
import { spotError } from "../cases/spot.ts";
import type { ContenderProcess } from "../contenders/process.ts";
import type { Prepared, Timed } from "../contenders/protocol.ts";
import type { CeilingName, CeilingRates } from "./ceiling.ts";
import { median, summarise, type Summary } from "./statistics.ts";

export interface OursResult extends Prepared {
  /** Relative L2 from the definition in float64, at some places of the result. */
  readonly error?: number;
  readonly ms: Summary;
  /** On the GPU's clock, where it has timestamps. */
  readonly gpuMs?: number;
  readonly gflops: number;
  readonly gbytes: number;
  /** Of the 16-chain mark, of the f32 ceiling, of a copy of as many bytes, and of what the roofline of ceiling and copy allows. */
  readonly share: { readonly chains: number; readonly peak: number; readonly copy: number; readonly attainable: number };
  readonly ceilings: CeilingRates;
}
export interface PeerResult extends Prepared {
  readonly contender: string;
  /** Relative L2 between its result and ours. */
  readonly difference?: number;
  readonly ms?: Summary;
  /** Its time over ours: above 1, this engine is faster. */
  readonly ratio?: Summary;
  /** Why it was not timed. */
  readonly failed?: string;
}
export interface CaseResult {
  readonly case: BenchCase;
  readonly ours?: OursResult;
  readonly peers: readonly PeerResult[];
  readonly failed?: string;
}

export interface ContestOptions {
  readonly folder: string;
  /** Rounds at least and at most, and the seconds after which no further one begins. */
  readonly rounds: { readonly least: number; readonly most: number; readonly seconds: number };
  /** Seconds of a peer's runs of one case after which it takes part in no further round. */
  readonly patience: number;
  readonly say: (text: string) => void;
}

export async function contest(
  c: BenchCase,
  engine: ContenderProcess,
  peers: readonly ContenderProcess[],
  options: ContestOptions,
): Promise<CaseResult> {
  const { folder, say } = options;
  const resultOf = (who: ContenderProcess): string => join(folder, `${who.launch.id}.f32`);
  const prepare = async (who: ContenderProcess): Promise<Prepared> => {
    if (!who.alive) await who.start();
    say(`${who.opened.name} prepares`);
    return await who.ask<Prepared>({ do: "prepare", case: c, file: resultOf(who), ...(who === engine ? {} : { want: resultOf(engine) }) });
  };

  let mine: Prepared;
  let spots: number | undefined;
  let result: Float32Array;
  try {
    mine = await prepare(engine);
    result = readResult(resultOf(engine));
    if (!result.every(Number.isFinite)) throw new Error("every value of its result must be finite");
    spots = spotError(c, result);
    if (spots !== undefined && !(spots <= c.tolerance))
      throw new Error(`its result departs from the definition by ${spots.toExponential(1)}, more than ${c.tolerance}`);
  } catch (error) {
    return { case: c, peers: [], failed: (error as Error).message };
  }

  const results: PeerResult[] = [];
  const racing: { who: ContenderProcess; prepared: Prepared & { difference: number }; ms: number[]; ratios: number[] }[] = [];
  for (const who of peers) {
    if (who.opened && !who.opened.kinds.includes(c.kind)) continue;
    try {
      const prepared = await prepare(who);
      const difference = relativeL2(readResult(resultOf(who)), result);
      if (!(difference <= c.tolerance))
        throw new Error(`its result differs from ours by ${difference.toExponential(1)}, more than ${c.tolerance}`);
      racing.push({ who, prepared: { ...prepared, difference }, ms: [], ratios: [] });
    } catch (error) {
      results.push({ contender: who.launch.id, failed: (error as Error).message });
    }
  }

  const time = async (who: ContenderProcess): Promise<Timed> => await who.ask<Timed>({ do: "time", runs: 1 });
  const own: number[] = [],
    gpu: number[] = [];
  const rates: CeilingRates[] = [];
  const wanted: readonly CeilingName[] = ["16 chains", "f32", "copy"];
  await time(engine);
  const begun = performance.now();
  for (let round = 0; round < options.rounds.most; round++) {
    if (round >= options.rounds.least && performance.now() - begun > options.rounds.seconds * 1000) break;
    say(`round ${round + 1}`);
    rates.push(await engine.ask<CeilingRates>({ do: "ceilings", runs: 3, only: wanted, ...(mine.bytes ? { bytes: mine.bytes } : {}) }));
    const mineNow = async (): Promise<number> => {
      const timed = await time(engine);
      gpu.push(...(timed.gpuMs ?? []));
      own.push(...timed.ms);
      return median(timed.ms);
    };
    let before = await mineNow();
    for (const racer of [...racing]) {
      // A slow peer is not waited for over and over.
      if (racer.ms.length > 0 && racer.ms.reduce((a, b) => a + b) > 1000 * options.patience) continue;
      try {
        const theirs = median((await time(racer.who)).ms);
        const peak = rates.at(-1)!.f32;
        if (peak && racer.who.launch.id !== "torch" && (mine.flops ?? 0) > 1e8 && (mine.flops ?? 0) / theirs / 1e6 > 1.5 * peak) {
          throw new Error(
            `${theirs.toFixed(2)} ms is less than the adapter's peak allows: it did not compute, or the work was not waited for`,
          );
        }
        const after = await mineNow();
        racer.ms.push(theirs);
        racer.ratios.push((2 * theirs) / (before + after));
        before = after;
      } catch (error) {
        racing.splice(racing.indexOf(racer), 1);
        results.push({ contender: racer.who.launch.id, failed: (error as Error).message });
      }
    }
  }
  for (const { who, prepared, ms, ratios } of racing)
    results.push({ contender: who.launch.id, ...prepared, ms: summarise(ms), ratio: summarise(ratios) });
  for (const who of [engine, ...peers]) if (who.alive) await who.ask({ do: "close" }).catch(() => undefined);

  const ms = summarise(own);
  const ceilings = Object.fromEntries(
    wanted.map((name) => [name, median(rates.map((r) => r[name] ?? 0))]).filter(([, rate]) => (rate as number) > 0),
  ) as CeilingRates;
  return {
    case: c,
    peers: results,
    ours: {
      ...mine,
      ...(spots === undefined ? {} : { error: spots }),
      ms,
      ...(gpu.length ? { gpuMs: median(gpu) } : {}),
      ...shares(mine, ms.median, ceilings),
      ceilings,
    },
  };
}

/** Rates, and their shares of the ceilings measured beside them. */
function shares({ flops = 0, bytes = 0 }: Prepared, ms: number, ceilings: CeilingRates): Pick<OursResult, "gflops" | "gbytes" | "share"> {
  const [chains, peak] = [ceilings["16 chains"] ?? Infinity, ceilings.f32 ?? Infinity];
  const copy = ceilings.copy ?? Infinity;
  const [gflops, gbytes] = [flops / ms / 1e6, bytes / ms / 1e6];
  const leastMs = Math.max(flops / peak, bytes / copy) / 1e6;
  return { gflops, gbytes, share: { chains: gflops / chains, peak: gflops / peak, copy: gbytes / copy, attainable: leastMs / ms } };
}
