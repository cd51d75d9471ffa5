/** The work of `cogwheel quantize`: read, quantize, write, and tell what it lost. */
import { resolve } from "node:path";
import { bytesText } from "../base/units.ts";
import type { QuantizedType } from "../files/quantize.ts";
import { defined } from "../pipelines/options.ts";
import type { Quantizable } from "../models/quantizable.ts";
import { quantizeCheckpoint, type QuantizeReport, type WrittenLayer } from "../pipelines/quantize/quantize.ts";
import { checkDistinct, checkOutputFile, writeWhole } from "./files.ts";
import { hubProgress } from "./terminal/hub-progress.ts";
import { interruptible, Interrupted } from "./terminal/interrupt.ts";
import { print, printJson, printPath } from "./terminal/output.ts";
import { Progress } from "./terminal/progress.ts";
import { table } from "./terminal/table.ts";

export interface QuantizeFlags {
  type: QuantizedType;
  out: string;
  component: Quantizable;
  keep?: string;
  variant?: string;
  json?: boolean;
  adapter?: string;
}

export async function quantizeToFile(folder: string, flags: QuantizeFlags): Promise<void> {
  const { type, out, component, keep, variant, adapter, json } = flags;
  await checkOutputFile(out, "--out");
  await checkDistinct([["--out", out]], [["the command", folder]]);
  using progress = new Progress();
  using interruption = interruptible((text) => progress.note(text));
  const { signal } = interruption;
  const words = keep === "none" ? [] : keep?.split(",").map((word) => word.trim());
  try {
    const report = await quantizeCheckpoint(
      folder,
      {
        type,
        component,
        signal,
        hub: { signal, ...hubProgress(progress) },
        ...defined({ keep: words, variant, adapter }),
        onProgress: (done, at) => progress.report("quantize", done, at),
      },
      (file) => writeWhole(out, file, "--out"),
    );
    if (json) printJson(report);
    else show(report);
  } catch (error) {
    throw signal.aborted && signal.reason instanceof Interrupted ? signal.reason : error;
  }
  if (!json) printPath(resolve(out));
}

const percent = (error: number | null): string => (error === null ? "–" : `${(100 * error).toPrecision(3)} %`);

function row({ name, weights, weightError, outputError }: WrittenLayer): string[] {
  const quantized = weights.filter(({ error }) => error !== null);
  const worst = quantized.reduce<(typeof quantized)[number] | undefined>((a, b) => (a && a.error! >= b.error! ? a : b), undefined);
  return [
    name,
    `${quantized.length} of ${weights.length}`,
    bytesText(
      weights.reduce((sum, { bytes }) => sum + bytes, 0),
      1,
    ),
    percent(weightError),
    worst ? `${worst.name.replace(`${name}.`, "")} ${percent(worst.error)}` : "–",
    percent(outputError),
  ];
}

function show({ component, type, keep, adapter, layers, bytesBefore, bytes }: QuantizeReport): void {
  print(table(["layer", "quantized", "size", "weights' error", "largest", "output's error"], layers.map(row)));
  print(
    `Errors are relative (L2): of the weights against those of the checkpoint, and of what a layer adds to a drawn input, ` +
      `computed on ${adapter}.`,
  );
  const kept = layers.flatMap(({ weights }) => weights).filter(({ error, shape }) => error === null && shape.length > 1);
  const bytesKept = bytesText(
    kept.reduce((sum, weight) => sum + weight.bytes, 0),
    1,
  );
  print(
    `Matrices that stay as they are: ${kept.length}, ${bytesKept}` +
      `${keep.length ? ` (${keep.join(", ")}, and what has no rows of whole blocks)` : ""}. --keep chooses others.`,
  );
  print(`${component} in ${type}: ${bytesText(bytesBefore, 1)} → ${bytesText(bytes, 1)}`);
}
