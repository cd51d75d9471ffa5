/** The panel that trains an adapter on a visitor's own clips: their captions, the run, what it learns, and its file. */
import { shortenedLines, visible } from "../src/base/visible.ts";
import { WorkerError, type Client } from "./client.ts";
import { byId, download } from "./dom.ts";
import { lossChart, recentLoss } from "./loss-chart.ts";
import { Player } from "./player.ts";
import type { ModelPicker } from "./model.ts";
import type { Captioned, News, Taught, TrainRequest } from "./protocol.ts";
import { duration } from "./text.ts";
import type { Tell } from "./trouble.ts";

/** The name that adapters have in diffusers. */
const FILE = "pytorch_lora_weights.safetensors";
/** Drawn at once. */
const DRAWN = 12;

/**
 * @param page what the panel that generates lends: the model that is chosen there, and a place for an adapter
 * @returns what takes dropped files
 */
export function trainPanel(
  client: Client,
  tell: Tell,
  page: { model: ModelPicker; use(adapter: File): void },
): (data: DataTransfer) => void {
  const button = (name: string): HTMLButtonElement => byId<HTMLButtonElement>(`train-${name}`);
  const [start, cancel, resume, save, use] = [button("start"), button("cancel"), button("resume"), button("save"), button("use")];
  const [doing, bar, log, list] = [byId("train-doing"), byId<HTMLProgressElement>("train-bar"), byId("train-log"), byId("train-clips")];
  const field = (name: string): HTMLInputElement => byId<HTMLInputElement>(`train-${name}`);
  const player = new Player(byId<HTMLCanvasElement>("train-canvas"));
  const clips: Captioned[] = [];
  let losses: number[] = [];
  let taught: File | undefined;
  let drawn = 0;

  /** A row for each clip, whose caption can be changed. */
  function showClips(): void {
    byId("train-count").textContent = clips.length ? `${clips.length} ${clips.length === 1 ? "clip" : "clips"}` : "";
    list.replaceChildren(
      ...clips.map((clip) => {
        const row = document.createElement("li");
        row.className = "clip";
        const name = visible(clip.file.name);
        const caption = Object.assign(document.createElement("input"), {
          type: "text",
          value: clip.caption,
          placeholder: "what it shows",
        });
        caption.setAttribute("aria-label", `Caption of ${name}`);
        caption.addEventListener("input", () => {
          clip.caption = caption.value;
        });
        const remove = Object.assign(document.createElement("button"), { type: "button", textContent: "Remove" });
        remove.setAttribute("aria-label", `Remove ${name}`);
        remove.addEventListener("click", () => {
          clips.splice(clips.indexOf(clip), 1);
          showClips();
        });
        const label = Object.assign(document.createElement("span"), { className: "muted", textContent: name });
        row.append(label, caption, remove);
        return row;
      }),
    );
    byId("train-clear").hidden = clips.length === 0;
  }
  function add(more: readonly Captioned[]): void {
    tell(null);
    clips.push(...more);
    showClips();
    const prompt = field("prompt");
    if (!prompt.value && clips[0]) prompt.value = clips[0].caption;
  }
  /** A file's own name is the caption that stands there first: many are named by what they show. */
  const picked = (files: Iterable<File>): void =>
    add([...files].map((file) => ({ file, caption: file.name.replace(/\.\w+$/, "").replace(/[-_]+/g, " ") })));
  field("files").addEventListener("change", () => {
    picked([...(field("files").files ?? [])]);
    field("files").value = "";
  });
  byId("train-clear").addEventListener("click", () => {
    clips.length = 0;
    showClips();
  });
  const draw = button("draw");
  draw.addEventListener("click", async () => {
    if (draw.ariaDisabled === "true") return;
    draw.ariaDisabled = "true";
    try {
      const ask = { shape: field("shape").value, motion: field("motion").value, count: DRAWN, from: drawn };
      add(await client.ask<Captioned[]>({ type: "draw-clips", request: ask }));
      drawn += DRAWN;
    } catch (error) {
      tell((error as Error).message);
    } finally {
      draw.ariaDisabled = null;
    }
  });

  function news(n: News): void {
    if (n.type === "progress") {
      doing.textContent = n.stage.charAt(0).toUpperCase() + n.stage.slice(1) + (n.detail ? `: ${visible(n.detail)}` : "");
      bar.value = n.done;
    } else if (n.type === "learned") {
      losses[n.step - 1] = n.loss;
      bar.value = n.step / n.steps;
      const left = n.step < n.steps ? `, ${duration((n.steps - n.step) * n.seconds)} left` : "";
      doing.textContent = `Step ${n.step} of ${n.steps}: loss ${recentLoss(losses).toPrecision(3)}, ${duration(n.seconds)} a step${left}`;
      byId("train-chart").replaceChildren(lossChart(losses, n.steps));
    } else if (n.type === "sample") {
      byId("train-sample").hidden = false;
      player.show(n.frames, 8, `Sample after step ${n.step}`);
      byId("train-caption").textContent = `After step ${n.step}: “${visible(field("prompt").value)}”`;
    } else if (n.type === "warning") {
      const item = document.createElement("li");
      item.textContent = shortenedLines(n.message);
      log.append(item);
    }
  }

  let running = false;
  function busy(on: boolean): void {
    running = on;
    start.hidden = on;
    cancel.hidden = !on;
    bar.hidden = !on;
    if (on) for (const one of [resume, save, use]) one.hidden = true;
  }

  async function run(goOn: boolean): Promise<void> {
    if (running) return;
    const problem = page.model.problem();
    tell(problem && `${problem.message} It is chosen under Generate.`);
    if (problem) return;
    if (!goOn) {
      losses = [];
      taught = undefined;
      byId("train-sample").hidden = true;
      for (const part of [byId("train-chart"), log]) part.replaceChildren();
    }
    busy(true);
    const request: TrainRequest = {
      model: page.model.choice(),
      clips: clips.map((clip) => ({ ...clip })),
      steps: field("steps").valueAsNumber,
      rank: field("rank").valueAsNumber,
      rate: field("rate").valueAsNumber,
      sampleEvery: field("every").valueAsNumber || 0,
      samplePrompt: field("prompt").value.trim() || (clips[0]?.caption ?? ""),
    };
    try {
      const { adapter, step, steps } = await client.ask<Taught>({ type: "train", request, resume: goOn }, news);
      taught = new File([adapter], FILE);
      resume.hidden = step >= steps;
      const done = step < steps ? `Stopped after ${step} of ${steps} steps` : `${steps} steps`;
      doing.textContent = `${done}: loss ${recentLoss(losses).toPrecision(3)}.`;
    } catch (error) {
      doing.textContent = error instanceof WorkerError && error.cancelled ? "Stopped." : "";
      if (!(error instanceof WorkerError && error.cancelled)) tell((error as Error).message);
      resume.hidden = !(error instanceof WorkerError && error.resumable);
    } finally {
      busy(false);
      save.hidden = use.hidden = taught === undefined;
    }
  }
  start.addEventListener("click", () => void run(false));
  resume.addEventListener("click", () => void run(true));
  cancel.addEventListener("click", () => {
    doing.textContent = "Stopping after this step …";
    client.cancel("train");
  });
  save.addEventListener("click", () => {
    download(taught!, FILE);
  });
  use.addEventListener("click", () => page.use(taught!));
  showClips();
  return (data) => picked([...data.files]);
}
