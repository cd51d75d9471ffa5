// The canvas belongs to the worker: previews and the video are drawn there, and this thread has nothing to do.
const canvas = document.querySelector("#canvas").transferControlToOffscreen();
const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
worker.onmessage = ({ data }) => {
  document.querySelector("#status").textContent = data;
};
worker.postMessage({ canvas, settings: JSON.parse(new URLSearchParams(location.search).get("settings") ?? "{}") }, [canvas]);
