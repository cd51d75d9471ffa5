/** `cogwheel data export`: a data set in another trainer's layout. */
import { TARGETS } from "../../curation/export/targets.ts";
import { exportDataset } from "../../curation/export/write-node.ts";
import { defined } from "../../pipelines/options.ts";
import { interruptible } from "../terminal/interrupt.ts";
import { print, printJson, printPath } from "../terminal/output.ts";
import { Progress } from "../terminal/progress.ts";

export interface ExportFlags {
  readonly to: string;
  readonly out: string;
  readonly validation?: number;
  readonly test?: number;
  readonly seed?: number;
  readonly equalCaptions?: boolean;
  readonly json?: boolean;
}

export async function exportTo(dataset: string, { to, out, validation, test, seed, equalCaptions, json }: ExportFlags): Promise<void> {
  using progress = new Progress();
  using interruption = interruptible((message) => progress.note(message));
  const target = TARGETS.find(({ name }) => name === to)!;
  const made = await exportDataset({
    dataset,
    target,
    out,
    ...(validation || test ? { split: defined({ validation, test, seed }) } : {}),
    ...defined({ equalCaptions }),
    signal: interruption.signal,
    onProgress: (done) => progress.report("export", done),
  });
  if (json) return printJson({ ...made, to, reader: target.reader });
  const parts = Object.entries(made.clips).map(([name, clips]) => `${clips} ${name === "all" ? "clips" : name}`);
  print(`${parts.join(", ")}, as ${target.reader} reads them`);
  printPath(made.out);
}
