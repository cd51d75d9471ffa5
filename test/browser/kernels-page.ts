/** What test/browser/kernels.test.ts runs in a page: the same modules as in Node, bundled for a browser. */
import { Gpu } from "../../src/gpu/gpu.ts";
import { readCase } from "../../src/check/reference/case.ts";
import { complaint, runCase } from "../../src/check/reference/run.ts";
import type { CompileOptions } from "../../src/plan/compile.ts";
import { MODELS } from "../support/streamed-models.ts";
import { sweep } from "../../src/check/sweep/sweep.ts";

let opened: Promise<Gpu> | undefined;

/** Runs a case from its address; resolves to what is wrong with it (empty for a pass) and the outputs' bytes in base64. */
export async function caseInPage(url: string): Promise<{ wrong: string; outputs: Record<string, string> }> {
  const gpu = await (opened ??= Gpu.open());
  const bytes = new Uint8Array(await (await fetch(url)).arrayBuffer());
  const outputs: Record<string, string> = {};
  const result = await runCase(gpu, await readCase(bytes, url), {
    onOutput: (name, { data }) => {
      outputs[name] = base64(data);
    },
  });
  return { wrong: complaint(result), outputs };
}

/** The sweep of every kernel's specialisations; resolves to its problems and the number of cases. */
export async function sweepInPage(): Promise<{ problems: readonly string[]; cases: number; immediates: boolean }> {
  const gpu = await (opened ??= Gpu.open());
  const { problems, cases } = await sweep(gpu, null, { sizes: ["tiny"] });
  return { problems, cases, immediates: gpu.caps.immediates };
}

/** Models with streamed weights, and with weights that stay as stored; resolves to the names of those that differ from resident ones. */
export async function streamedInPage(): Promise<{ different: string[]; runs: number }> {
  const gpu = await (opened ??= Gpu.open());
  const different: string[] = [];
  let runs = 0;
  for (const [name, model] of Object.entries(MODELS)) {
    const want = await model.run({}, gpu);
    for (const [how, options] of Object.entries(WAYS)) {
      const got = await model.run(options, gpu);
      runs++;
      if (got.length !== want.length || got.some((value, i) => !Object.is(value, want[i]))) different.push(`${name}, ${how}`);
    }
  }
  return { different, runs };
}

const WAYS: Readonly<Record<string, CompileOptions>> = {
  "streamed through the least": { stream: () => true, slots: 0.01 },
  "streamed through 2 slots": { stream: () => true, slots: 2 },
  "streamed through 3 slots": { stream: () => true, slots: 3 },
  "as stored": { asStored: ({ shape }) => (shape.length > 1 ? "f32" : null) },
};

function base64(data: Float32Array): string {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += 4096) text += String.fromCharCode(...bytes.subarray(i, i + 4096));
  return btoa(text);
}
