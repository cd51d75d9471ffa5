// A picture as the first frame: node i2v.mjs MODEL IMAGE PROMPT [OUT]
// For checkpoints that take one: CogVideoX-5b-I2V, CogVideoX1.5-5B-I2V.
import { CogVideoX, decodeVideo } from "cogwheel-webgpu";

const [from, input, prompt, out = "out.mp4"] = process.argv.slice(2);
if (!from || !input || !prompt) throw new Error("usage: i2v.mjs MODEL IMAGE PROMPT [OUT]");

const model = await CogVideoX.open(from);
const {
  frames: [image],
} = await decodeVideo(input, { maxFrames: 1 });
// 1.5's image latents are scaled differently by its authors and by diffusers: `profile` chooses (docs/profiles.md).
const video = await model.generate({ prompt, image, fit: "pad", seed: 1, scheduler: "dpm", dynamicGuidance: true });
await video.save(out);
console.log(`${out}: ${video.frames.length} frames that begin with ${input}`);
await model.close(); // frees the GPU's memory, and lets the process end
