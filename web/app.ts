/** The page: finds its parts, starts the worker, and hands both to the panels. */
import "./control.ts";
import { benchmarkPanel } from "./benchmark.ts";
import { Client } from "./client.ts";
import { pageDrops } from "./drops.ts";
import { keepFocus } from "./focus.ts";
import { generatePanel } from "./generate.ts";
import { byId } from "./dom.ts";
import { Player } from "./player.ts";
import { sample } from "./sample.ts";
import { trainPanel } from "./train.ts";
import { troubleTeller } from "./trouble.ts";
import { validatePanel } from "./validate.ts";

const tell = troubleTeller();

tabs();
keepFocus();
if (!navigator.gpu) {
  byId("adapter").textContent = "No WebGPU";
  tell(isSecureContext ? "This browser has no WebGPU, so nothing can be computed here." : "WebGPU needs a secure page.");
  byId("about-needs").textContent = isSecureContext
    ? "It needs Chrome or Edge 113, Safari 26 or Firefox 141 or newer. In a browser that has WebGPU, hardware acceleration must be on: " +
      "in Chrome and Edge the page chrome://gpu says why it is not."
    : "Open this page over https, or from localhost.";
  for (const button of document.querySelectorAll<HTMLButtonElement>("button.primary")) button.disabled = true;
  // What the page is can be seen all the same.
  for (const element of [byId("form"), document.querySelector<HTMLElement>('[role="tablist"]')!, byId("lend")]) element.hidden = true;
  byId("about").hidden = false;
  byId("about-title").after(byId("notice"));
  sample(new Player(byId<HTMLCanvasElement>("canvas")), "Six videos of the model that comes with this page.").show();
} else {
  const client = new Client(new URL("worker.js", import.meta.url));
  const { model, useAdapter, dropped } = generatePanel(client, tell);
  const clipsDropped = trainPanel(client, tell, {
    model,
    use(adapter) {
      useAdapter(adapter);
      byId("tab-generate").click();
    },
  });
  const casesDropped = validatePanel(client, tell);
  pageDrops({ "panel-generate": dropped, "panel-train": clipsDropped, "panel-gpu": casesDropped });
  benchmarkPanel(client, tell);
  client.ask<{ name: string; kind: string; f16: boolean; advice?: string }>({ type: "adapter" }).then(
    ({ name, kind, f16, advice = "" }) => {
      byId("adapter").textContent = `${name}${kind === "software" ? ", on the CPU: slow" : ""}${f16 ? ", f16" : ""}`;
      byId("adapter-advice").hidden = !advice;
      byId("adapter-advice").textContent = advice && `${advice[0]!.toUpperCase()}${advice.slice(1)}.`;
      byId("gpu-words").textContent =
        `${name}: ${kind === "software" ? "an adapter on the CPU" : "a GPU"}, ${f16 ? "with" : "without"} arithmetic in 16 bits (f16).`;
    },
    (error: Error) => {
      byId("adapter").textContent = "No GPU";
      tell(error.message);
    },
  );
}

/** Tabs as the ARIA practices have them: arrows move, only the selected one is in the tab order. */
function tabs(): void {
  const all = [...document.querySelectorAll<HTMLButtonElement>('[role="tab"]')];
  const select = (tab: HTMLButtonElement): void => {
    for (const other of all) {
      const selected = other === tab;
      other.setAttribute("aria-selected", String(selected));
      other.tabIndex = selected ? 0 : -1;
      byId(other.getAttribute("aria-controls")!).hidden = !selected;
    }
  };
  for (const [i, tab] of all.entries()) {
    tab.addEventListener("click", () => select(tab));
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: all.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      const next = all[(to + all.length) % all.length]!;
      select(next);
      next.focus();
    });
  }
}
