// The calls are those of "cogwheel-webgpu"; the model is in a worker, and this thread stays free for the page.
import { CogVideoX, GenerationInterrupted } from "cogwheel-webgpu/worker";

const canvas = document.querySelector("#canvas");
const status = document.querySelector("#status");
const button = document.querySelector("#stop");
const draw = ({ width, height, data }) => {
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(data), width, height), 0, 0);
};
const options = {
  prompt: "a cyan square growing on a gray background",
  seed: 1,
  preview: true,
  ...JSON.parse(new URLSearchParams(location.search).get("settings") ?? "{}"), // e.g. ?settings={"steps":8}
};

async function make(start) {
  const controller = new AbortController();
  button.textContent = "Stop";
  button.onclick = () => controller.abort();
  const run = model.generate({ ...options, ...(start ? { start } : {}), signal: controller.signal });
  for await (const step of run) {
    // A frame for every latent frame; the middle one stands for the video.
    const frames = step.preview();
    draw(frames[frames.length >> 1]);
    status.value = `step ${step.step} of ${step.steps}, ${step.secondsLeft.toFixed(0)} s left`;
  }
  return await run;
}

/** Makes the video; one that was stopped goes on from its last step at the next click. */
async function run(start) {
  try {
    const { frames, settings } = await make(start);
    let shown = 0;
    setInterval(() => draw(frames[shown++ % frames.length]), 1000 / settings.fps);
    status.value = `done: ${frames.length} frames`;
    button.remove();
    await model.close();
  } catch (error) {
    status.value = error.code === "aborted" ? "stopped" : error.message;
    button.textContent = "Go on";
    button.onclick = () => run(error instanceof GenerationInterrupted ? error.state : undefined);
  }
}

const model = await CogVideoX.open();
await run();
