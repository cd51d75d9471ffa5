// A prompt to a video file: node generate.mjs PROMPT [OUT] [MODEL]
import { CogVideoX, GenerationInterrupted } from "cogwheel-webgpu";

const [prompt = "a red circle moving left on a black background", out = "out.mp4", from] = process.argv.slice(2);

// Ctrl-C and a limit of an hour both stop between two submits; the latents reached by then come with the error.
const stop = new AbortController();
process.once("SIGINT", () => stop.abort(new Error("stopped")));
const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(3_600_000)]);

const model = await CogVideoX.open(from);
console.log(`${model.gpu.name}, ${model.dtype}`);
try {
  const run = model.generate({ prompt, seed: 1, signal, onWarning: console.warn });
  for await (const { step, steps, secondsLeft } of run) console.log(`step ${step} of ${steps}, ${secondsLeft.toFixed(0)} s left`);
  const video = await run;
  await video.save(out);
  console.log(`${out}: ${video.frames.length} frames of ${video.settings.width}×${video.settings.height}`);
} catch (error) {
  if (!(error instanceof GenerationInterrupted)) throw error;
  console.error(`${error.message}; generate({ start: error.state }) goes on from there`);
  process.exitCode = 1;
}
await model.close(); // frees the GPU's memory, and lets the process end
