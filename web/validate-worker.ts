/** Reference cases that were dropped on the page, run on its device. */
import { readCase, runCase, type CaseResult, type Gpu } from "../src/index.ts";

export interface ValidationSummary {
  adapter: string;
  pass: number;
  of: number;
}

/** Runs each file; a file that cannot be read is a row that says why. */
export async function validateFiles(
  gpu: Gpu,
  files: readonly File[],
  row: (result: CaseResult) => void,
  signal: AbortSignal,
): Promise<ValidationSummary> {
  let pass = 0;
  for (const file of files) {
    signal.throwIfAborted();
    const name = file.name.replace(/\.safetensors$/, "");
    let result: CaseResult;
    try {
      result = await runCase(gpu, await readCase(new Uint8Array(await file.arrayBuffer()), name));
    } catch (error) {
      if (gpu.lost) throw error;
      result = { name, module: null, verdict: "cannot be run", outputs: [], error: (error as Error).message };
    }
    if (result.verdict === "pass") pass++;
    row(result);
  }
  return { adapter: gpu.name, pass, of: files.length };
}
