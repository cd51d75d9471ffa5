import { CogVideoX, encodeVideo } from "cogwheel-webgpu";

const status = document.querySelector("#status");
try {
  const model = await CogVideoX.open();
  const video = await model.generate({
    prompt: "a red circle moving left on a black background",
    seed: 1,
    ...JSON.parse(new URLSearchParams(location.search).get("settings") ?? "{}"), // e.g. ?settings={"steps":8}
    onProgress: (stage, done) => {
      status.textContent = `${stage} ${Math.round(100 * done)} %`;
    },
  });
  const mp4 = await encodeVideo(video.frames, { format: "mp4", fps: video.settings.fps });
  document.querySelector("#video").src = URL.createObjectURL(new Blob([mp4], { type: "video/mp4" }));
  await model.close();
  status.textContent = `done: ${video.frames.length} frames on ${model.gpu.name}`;
} catch (error) {
  status.textContent = error.message;
}
