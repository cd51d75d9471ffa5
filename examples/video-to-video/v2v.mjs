// A video to another one: node v2v.mjs IN PROMPT [OUT] [MODEL]
// The file's frames are encoded, noised as far as `strength` says, and denoised towards the prompt.
import { CogVideoX, decodeVideo } from "cogwheel-webgpu";

const [input, prompt, out = "out.mp4", from] = process.argv.slice(2);
if (!input || !prompt) throw new Error("usage: v2v.mjs IN PROMPT [OUT] [MODEL]");

const model = await CogVideoX.open(from);
const { frames, fps } = await decodeVideo(input, { maxFrames: model.defaults.frames });
const video = await model.generate({
  prompt,
  seed: 1,
  video: frames, // as many of them as the model can make are taken, cropped to its size
  strength: 0.7, // 0.7 of the steps are run; 1 would leave nothing of the file
  ...(fps ? { fps } : {}),
  onProgress: (stage, done) => process.stderr.write(`\r${stage} ${Math.round(100 * done)} %   `),
});
await video.save(out);
console.log(`\n${out}: ${video.frames.length} frames from ${input}`);
await model.close(); // frees the GPU's memory, and lets the process end
