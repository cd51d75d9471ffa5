/** The page that lends its GPU to a queue: a form, and what the worker says. */
import type { FromJoined, ToJoined } from "./join-protocol.ts";

/** Lines of what was said that stay. */
const SHOWN = 100;

const element = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;
const [address, user, password] = ["address", "user", "password"].map((id) => element<HTMLInputElement>(id)) as [
  HTMLInputElement,
  HTMLInputElement,
  HTMLInputElement,
];
const [start, stop] = [element<HTMLButtonElement>("start"), element<HTMLButtonElement>("stop")];
const state = element("state");
const notes = element("notes");

// The address may stand in the page's own: #ws://host:8080. A lease in seconds is for who tries what becomes of a tab that is closed.
const asked = new URLSearchParams(location.search);
if (/^#wss?:/.test(location.hash)) address.value = decodeURIComponent(location.hash.slice(1));

let worker: Worker | undefined;
const tell = (message: ToJoined): void => worker?.postMessage(message);

function ended(why: string): void {
  worker?.terminate();
  worker = undefined;
  state.textContent = why;
  start.disabled = false;
  stop.disabled = true;
}

element<HTMLFormElement>("join").addEventListener("submit", (event) => {
  event.preventDefault();
  start.disabled = true;
  stop.disabled = false;
  state.textContent = "Connecting …";
  worker = new Worker(new URL("join-worker.js", import.meta.url), { type: "module" });
  worker.onerror = ({ message }) => ended(`The worker stopped: ${message || "its script could not be loaded"}. Reload the page.`);
  worker.onmessage = ({ data }: MessageEvent<FromJoined>) => {
    if (data.type === "joined") state.textContent = `Connected as ${data.as}; waiting for jobs.`;
    else if (data.type === "ended") ended(data.error ?? "Stopped: what was reached is with the queue.");
    else {
      const line = document.createElement("li");
      line.textContent = data.text;
      notes.prepend(line);
      while (notes.childElementCount > SHOWN) notes.lastElementChild!.remove();
    }
  };
  const lease = Number(asked.get("lease"));
  tell({
    type: "start",
    connection: { address: address.value, ...(user.value ? { user: user.value, password: password.value } : {}) },
    ...(lease >= 1 ? { leaseMs: 1000 * lease } : {}),
  });
});
stop.addEventListener("click", () => {
  stop.disabled = true;
  state.textContent = "Stopping after this step …";
  tell({ type: "stop" });
});
