import type { Gpu } from "../src/index.ts";
export async function runBenchmark(_gpu: Gpu, _row: (row: unknown) => void, _signal: AbortSignal): Promise<unknown> { return undefined; }
