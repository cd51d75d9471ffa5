/**
 * `npm run bench:seconds [model]`: how long each stage of a generation was said to take, and how long it took, at several sizes. What is
 * said is said before anything has run but the probe; what is measured is the median of some generations after a first one.
 */
import { Command } from "commander";
import { writeWhole } from "../../src/cli/files.ts";
import { guardOutput } from "../../src/cli/terminal/output.ts";
import { table } from "../../src/cli/terminal/table.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { measureRates } from "../../src/tuning/rates.ts";
import { compareStages, measureSize, type SizeSeconds } from "./measure.ts";

guardOutput();
const command = new Command("bench:seconds")
  .description("compare the seconds that a model's stages were said to take with those that they took")
  .argument("[model]", "folder of a checkpoint", "models/moving-shapes")
  .option("--sizes <list>", "WIDTHxHEIGHTxFRAMES, and x1 for no guidance", "32x32x9,64x64x17,96x64x33,128x128x9")
  .option("--steps <n>", "steps of each generation", "4")
  .option("--runs <n>", "generations of each size after the first", "3")
  .option("--dtype <type>", "f32, f16, q8 or q4")
  .option("--memory <MB>", "limit of the adapter's memory")
  .option("--json <file>", "where the figures go too")
  .parse();
const options = command.opts<{ sizes: string; steps: string; runs: string; dtype?: string; memory?: string; json?: string }>();
const sizes = options.sizes.split(",").map((size) => {
  const [width, height, frames, guidance] = size.split("x").map(Number);
  return { width: width!, height: height!, frames: frames!, ...(guidance === undefined ? {} : { guidance }) };
});

const folder = command.args[0] ?? "models/moving-shapes";
const open = () =>
  CogVideoX.open(folder, {
    ...(options.dtype ? { dtype: options.dtype as "f32" } : {}),
    ...(options.memory ? { memoryBytes: Number(options.memory) * 1e6 } : {}),
  });
const steps = Number(options.steps);
const asked = sizes.map((size) => ({ ...size, steps }));
const predict = async () => {
  await using model = await open();
  const began = performance.now();
  const rates = await measureRates(model, { again: true });
  console.log(`${model.gpu.name}, ${model.dtype}; probe ${((performance.now() - began) / 1000).toFixed(1)} s`);
  return { adapter: model.gpu.name, rates, told: asked.map((size) => model.times(rates, size)) };
};
const { adapter, rates, told } = await predict();
const results: SizeSeconds[] = [];
for (const [i, size] of asked.entries()) {
  // Each on a device of its own, whose first generation makes its pipelines.
  await using model = await open();
  results.push(compareStages(size, told[i]!, await measureSize(model, size, Number(options.runs))));
}
const seconds = (value: number | undefined): string => (value === undefined ? "" : value.toPrecision(3));
const ratio = (predicted: number | undefined, measured: number): string =>
  predicted === undefined ? "" : (predicted / measured).toFixed(2);
console.log(
  table(
    ["size", "stage", "predicted", "measured", "least", "most", "ratio", "first predicted", "first", "ratio"],
    results.flatMap(({ size, stages }) =>
      stages.map(({ stage, predicted, measured, least, most, firstPredicted, first }, i) => [
        i ? "" : `${size.width}×${size.height}×${size.frames}`,
        stage,
        seconds(predicted),
        seconds(measured),
        seconds(least),
        seconds(most),
        ratio(predicted, measured),
        seconds(firstPredicted),
        seconds(first),
        ratio(firstPredicted, first),
      ]),
    ),
  ),
);
if (options.json !== undefined)
  await writeWhole(options.json, Buffer.from(`${JSON.stringify({ adapter, rates, results }, null, 1)}\n`), "--json");
