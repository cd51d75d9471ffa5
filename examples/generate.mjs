import { CogVideoX, encodeVideo } from "cogwheel";

// A folder; in a browser, a URL that is relative to the page.
const model = await CogVideoX.open("models/moving-shapes");
const video = await model.generate({
  prompt: "a red circle moves to the right on a black background",
  onProgress: (stage, done) => console.log(`${stage}: ${Math.round(100 * done)} %`),
});
const mp4 = await encodeVideo(video.frames, { format: "mp4", fps: video.settings.fps });
console.log(`${video.frames.length} frames, seed ${video.settings.seed}, ${mp4.length} bytes`);
await model[Symbol.asyncDispose]();
