/** The panel that makes videos: the form, the run, the result. */
import { WorkerError, type Client } from "./client.ts";
import { addControls, LINKED, optionValues, setControl, showDefaults } from "./controls.ts";
import { byId, dropZone } from "./dom.ts";
import { enhanceBox } from "./enhance.ts";
import { fromFragment, toFragment, type FormValues } from "./link.ts";
import { modelPicker } from "./model.ts";
import { Player } from "./player.ts";
import { keptPrompts } from "./prompts.ts";
import { adapterPicker } from "./adapter.ts";
import type { GenerateRequest, Made, ModelChoice, ModelFacts, News, Plan, Role } from "./protocol.ts";
import { bytesText } from "../src/base/units.ts";
import { duration, planText } from "./text.ts";
import { shortenedLines, visible } from "../src/base/visible.ts";

const EXAMPLES = [
  "a red circle moving left on a black background",
  "a cyan square growing on a gray background",
  "a yellow triangle moving up on a white background",
];

/** @returns the model that is chosen, and a way to put an adapter to use, for the panel that trains one */
export function generatePanel(
  client: Client,
  tell: (message: string | null) => void,
): { model(): ModelChoice; useAdapter(file: File): void } {
  const form = byId<HTMLFormElement>("form");
  addControls();
  const [start, cancel, resume] = [byId<HTMLButtonElement>("start"), byId<HTMLButtonElement>("cancel"), byId<HTMLButtonElement>("resume")];
  const [doing, figures, bar, caption, log] = [
    byId("doing"),
    byId("figures"),
    byId<HTMLProgressElement>("bar"),
    byId("caption"),
    byId("log"),
  ];
  const player = new Player(byId<HTMLCanvasElement>("canvas"));
  const field = (name: string): HTMLInputElement => form.elements.namedItem(name) as HTMLInputElement;
  const model = modelPicker(client, tell, () => void opened());
  const showPrompts = keptPrompts(client, tell);
  const adapter = adapterPicker();
  let last: Made | undefined;

  const values = (): FormValues =>
    Object.fromEntries([...new FormData(form)].filter((entry): entry is [string, string] => typeof entry[1] === "string"));
  for (const text of EXAMPLES) {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.textContent = text;
    chip.addEventListener("click", () => {
      field("prompt").value = text;
      field("prompt").focus();
    });
    byId("examples").append(chip);
  }

  /** What a link asks for; else the first example. */
  const linked = fromFragment(location.hash);
  for (const [name, value] of Object.entries(linked)) if (name !== "model" && name !== "url") setControl(form, name, value);
  model.link(linked);
  if (!field("prompt").value) field("prompt").value = EXAMPLES[0]!;
  const touched = new Set(Object.keys(linked));
  form.addEventListener("input", (event) => {
    touched.add((event.target as HTMLInputElement).name);
    summarise();
    replan();
  });

  /** A model's own advice goes into the fields that nobody touched. */
  async function opened(): Promise<void> {
    try {
      const facts = await client.ask<ModelFacts>({ type: "open", model: model.choice() }, news);
      showDefaults(form, facts.defaults, touched);
      field("role").value = facts.role;
      byId("examples").hidden = model.choice().kind !== "embedded";
      tell(null);
      summarise();
      replan();
    } catch (error) {
      tell((error as Error).message);
    } finally {
      if (!running) byId("run").hidden = true;
    }
  }

  function summarise(): void {
    const v = values();
    byId("settings-name").textContent = v["width"] ? `${v["width"]} × ${v["height"]}, ${v["frames"]} frames, ${v["steps"]} steps` : "";
    const file = field("input").files?.[0];
    byId("input-name").textContent = visible(file?.name ?? "");
  }

  const showPlan = (plan: Plan): void => {
    byId("plan").textContent = planText(plan);
    const { advice = "" } = plan;
    byId("prompt-advice").hidden = advice === "";
    byId("prompt-advice").textContent = advice && `${advice[0]!.toUpperCase()}${advice.slice(1)}.`;
  };
  const refusePlan = (error: Error): void => {
    byId("plan").textContent = shortenedLines(error.message);
  };

  /** Measures this GPU, after which each plan tells its seconds; a generation that is asked for meanwhile goes first. */
  const time = byId<HTMLButtonElement>("time");
  time.addEventListener("click", async () => {
    if (running) return;
    time.disabled = true;
    const asked = { type: "times", model: model.choice(), options: optionValues(form) } as const;
    await client.ask<Plan>(asked, news).then(showPlan, (error: Error) => {
      if (!(error instanceof WorkerError && error.cancelled)) refusePlan(error);
    });
    time.disabled = false;
    if (!running) byId("run").hidden = true;
  });

  /** Memory and seconds of what the form says, a moment after the last change. */
  let planTimer = 0;
  function replan(): void {
    clearTimeout(planTimer);
    if (running) return;
    planTimer = window.setTimeout(() => {
      client
        .ask<Plan>({
          type: "plan",
          model: model.choice(),
          options: { ...optionValues(form), prompt: adapter.picked() ? "" : field("prompt").value },
        })
        .then(showPlan, refusePlan);
    }, 300);
  }

  let running = false;
  function busy(on: boolean): void {
    running = on;
    start.hidden = on;
    cancel.hidden = !on;
    if (on) resume.hidden = true;
    byId("run").hidden = !on;
    if (on) byId("result").hidden = true;
    form.toggleAttribute("aria-busy", on);
  }

  function note(text: string): void {
    const item = document.createElement("li");
    item.textContent = shortenedLines(text);
    log.append(item);
  }

  let [share, left] = ["", ""];
  function news(n: News): void {
    if (n.type === "progress") {
      byId("run").hidden = false;
      doing.textContent = n.stage.charAt(0).toUpperCase() + n.stage.slice(1) + (n.detail ? `: ${visible(n.detail)}` : "");
      bar.value = n.done;
      share = n.memory ? `${bytesText(n.memory)} of GPU memory` : "";
      if (n.stage !== "denoise") left = "";
    } else if (n.type === "step") {
      left = n.step < n.steps ? `${duration(n.secondsLeft)} left, ${duration(n.seconds)} a step` : "";
      if (n.preview.length)
        player.show(n.preview, Math.max(1, (Number(field("fps").value) || 8) / 4), `Preview after step ${n.step} of ${n.steps}`);
      caption.textContent = `Preview after step ${n.step} of ${n.steps}`;
    } else if (n.type === "warning") note(n.message);
    figures.textContent = [left, share].filter(Boolean).join(" · ");
  }

  async function run(goOn: boolean): Promise<void> {
    if (running) return;
    if (!field("prompt").value.trim()) {
      tell("Say what the video shall show.");
      field("prompt").focus();
      return;
    }
    tell(null);
    log.replaceChildren();
    if (time.disabled) void client.ask({ type: "cancel" });
    busy(true);
    const file = field("input").files?.[0];
    const request: GenerateRequest = {
      model: model.choice(),
      options: { ...optionValues(form), prompt: field("prompt").value },
      input: file ? { file, role: field("role").value as Role } : null,
      adapter: adapter.picked(),
      resume: goOn,
    };
    // A file's length decides where nobody asked for a number of frames.
    if (file && request.input?.role !== "image" && !touched.has("frames")) delete request.options.frames;
    try {
      last = await client.ask<Made>({ type: "generate", request }, news);
      finished(last);
    } catch (error) {
      const { resumable, cancelled } = error instanceof WorkerError ? error : { resumable: false, cancelled: false };
      resume.hidden = !resumable;
      if (cancelled) caption.textContent = resumable ? "Stopped. Its steps so far are kept." : "Stopped.";
      else tell((error as Error).message);
    } finally {
      busy(false);
      start.focus();
      void showPrompts();
    }
  }

  function finished(made: Made): void {
    const { settings: s, frames, seconds, peakBytes } = made;
    player.show(frames, s.fps, `Video: ${s.prompt}`);
    const total = Object.values(seconds).reduce((a, b) => a + b, 0);
    caption.textContent =
      `“${visible(s.prompt)}” · seed ${s.seed} · ${s.width} × ${s.height}, ` +
      `${frames.length} frames · ${duration(total)}, ${bytesText(peakBytes)} at most`;
    byId("result").hidden = false;
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void run(false);
  });
  resume.addEventListener("click", () => void run(true));
  cancel.addEventListener("click", () => {
    doing.textContent = "Stopping …";
    void client.ask({ type: "cancel" });
  });
  const play = byId<HTMLButtonElement>("play");
  play.addEventListener("click", () => {
    player.paused = !player.paused;
    play.textContent = player.paused ? "Play" : "Pause";
    play.setAttribute("aria-pressed", String(!player.paused));
  });
  for (const format of ["mp4", "gif"] as const) {
    byId(`save-${format}`).addEventListener("click", async () => {
      try {
        const blob = await client
          .ask<Blob>({ type: "encode", format: format === "mp4" && !("VideoEncoder" in window) ? "gif" : format })
          .catch((error: Error) => {
            // A browser without H.264 and VP9 in MP4 may still write WebM.
            if (format === "mp4") return client.ask<Blob>({ type: "encode", format: "webm" });
            throw error;
          });
        const link = document.createElement("a");
        link.href = URL.createObjectURL(blob);
        link.download = `${slug(last!.settings.prompt)}-${last!.settings.seed}.${blob.type.split("/")[1]}`;
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      } catch (error) {
        tell((error as Error).message);
      }
    });
  }
  byId("share").addEventListener("click", async () => {
    const shared = { ...values(), ...(last ? { seed: String(last.settings.seed), prompt: last.settings.prompt } : {}) };
    location.hash = toFragment(shared);
    await navigator.clipboard.writeText(location.href).then(
      () => note("The link is copied."),
      () => note("The link is in the address bar."),
    );
  });

  // A result that is dropped on the stage brings back the settings that it says it was made with.
  dropZone(byId("stage"), (data) => void madeAgain(data.files[0]));
  async function madeAgain(file: File | undefined): Promise<void> {
    if (!file || running) return;
    try {
      const { madeWith } = await import("../src/pipelines/made-with-file.ts");
      const made = madeWith(new Uint8Array(await file.arrayBuffer()), file.name);
      if (!made)
        return tell(
          `${file.name} does not say what it was made with. To begin from it, choose it under “Begin from a picture or a video”.`,
        );
      for (const [name, value] of Object.entries(made))
        if (name === "prompt" || LINKED.includes(name)) setControl(form, name, String(value));
      for (const name of Object.keys(made)) touched.add(name);
      tell(null);
      note(`The prompt and the settings of ${visible(file.name)} are in the form.`);
      summarise();
      replan();
    } catch (error) {
      tell((error as Error).message);
    }
  }

  const picture = (): File | null => (field("role").value === "image" ? (field("input").files?.[0] ?? null) : null);
  enhanceBox(client, { model: model.choice, image: picture, news });
  summarise();
  void showPrompts();
  if (model.choice().kind === "embedded") void opened();
  return { model: model.choice, useAdapter: adapter.use };
}

const slug = (text: string): string =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "")
    .slice(0, 48) || "video";
