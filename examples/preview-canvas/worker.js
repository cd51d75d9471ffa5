// Import maps do not reach workers, so the module is named by its path; a bundler would take "cogwheel-webgpu".
import { CogVideoX } from "../../dist/browser.js";

self.onmessage = async ({ data: { canvas, settings } }) => {
  const context = canvas.getContext("2d");
  const draw = ({ width, height, data }) => {
    Object.assign(canvas, { width, height });
    context.putImageData(new ImageData(new Uint8ClampedArray(data), width, height), 0, 0);
  };
  try {
    const model = await CogVideoX.open();
    const run = model.generate({ prompt: "a cyan square growing on a gray background", seed: 1, preview: true, ...settings });
    for await (const step of run) {
      // A frame for every latent frame; the middle one stands for the video.
      const frames = step.preview();
      draw(frames[frames.length >> 1]);
      postMessage(`step ${step.step} of ${step.steps}, ${step.secondsLeft.toFixed(0)} s left`);
    }
    const { frames, settings: made } = await run;
    let shown = 0;
    setInterval(() => draw(frames[shown++ % frames.length]), 1000 / made.fps);
    postMessage(`done: ${frames.length} frames`);
  } catch (error) {
    postMessage(error.message);
  }
};
