/** Reference cases on the page's device: those that come with the page, and those that were dropped on it. */
import { CogwheelError, readCase, runCase, type CaseResult, type Gpu } from "../src/index.ts";

export interface ValidationSummary {
  adapter: string;
  pass: number;
  of: number;
  /** Those that fail or cannot be run; others have what this adapter does not support. */
  wrong: number;
  /** The largest share of its limit that an output's error takes; null where no limit is above zero. */
  worst: number | null;
}

/** A case in the type that its weights and activations are kept in. */
export interface CaseToRun {
  name: string;
  bytes(): Promise<Uint8Array>;
  dtype: "f32" | "f16";
}

/** A result, and how many there will be. */
export interface CaseNews {
  result: CaseResult;
  of: number;
}

export const toRun = (file: File): CaseToRun => ({
  name: file.name.replace(/\.safetensors$/, ""),
  bytes: async () => new Uint8Array(await file.arrayBuffer()),
  dtype: "f32",
});

/** Put in by build.mjs: the smallest case of every module, by the paths of their files. */
declare const CASES: readonly string[];

/** The cases that come with the page, in f32 and where the adapter has it in f16. @param page its address, which they lie beside */
export async function comingCases(page: string, { caps }: Gpu, signal: AbortSignal): Promise<CaseToRun[]> {
  const files = await Promise.all(
    CASES.map(async (path) => {
      const url = new URL(`cases/${path}`, page);
      const fail = (got: string, cause?: unknown): CogwheelError =>
        new CogwheelError("validate", `the page’s own server must send its cases, got ${got} for ${url.href}; try again later`, { cause });
      const answer = await fetch(url, { signal }).catch((error: unknown) => {
        throw signal.aborted ? error : fail("no answer", error);
      });
      if (!answer.ok) throw fail(`status ${answer.status}`);
      const bytes = new Uint8Array(await answer.arrayBuffer());
      return { name: path.replace(/^.*\/|\.safetensors$/g, ""), bytes: async () => bytes };
    }),
  );
  return (caps.f16 ? (["f32", "f16"] as const) : (["f32"] as const)).flatMap((dtype) =>
    files.map(({ name, bytes }) => ({ name: caps.f16 ? `${name} (${dtype})` : name, bytes, dtype })),
  );
}

/** Runs each; a file that cannot be read is a row that says why. */
export async function runCases(
  gpu: Gpu,
  cases: readonly CaseToRun[],
  row: (news: CaseNews) => void,
  signal: AbortSignal,
): Promise<ValidationSummary> {
  let [pass, wrong] = [0, 0];
  const shares: number[] = [];
  for (const { name, bytes, dtype } of cases) {
    signal.throwIfAborted();
    let result: CaseResult;
    try {
      result = await runCase(gpu, await readCase(await bytes(), name), { dtype });
    } catch (error) {
      if (gpu.lost) throw error;
      result = { name, module: null, verdict: "cannot be run", outputs: [], error: (error as Error).message };
    }
    if (result.verdict === "pass") pass++;
    else if (result.verdict !== "unsupported") wrong++;
    for (const { measure, judged, threshold } of result.outputs)
      if (measure !== "not judged" && threshold > 0) shares.push(judged / threshold);
    row({ result, of: cases.length });
  }
  return { adapter: gpu.name, pass, of: cases.length, wrong, worst: shares.length ? Math.max(...shares) : null };
}
